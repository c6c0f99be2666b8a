// What every launcher needs: the kernels, the threads and their scratch memory. One op at a time.
#pragma once
#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include "cpu/kernels.h"
#include "cpu/threads.h"

namespace m2::cpu {

class Machine {
 public:
  Machine(const Kernels& kernels, int threads) : kernels(kernels), pool(threads) {
    for (int i = 0; i < pool.threads(); i++) scratch_.push_back(floats(std::max(kGemmScratch, kAttentionScratch)));
  }

  // Of one worker, while it is in a task.
  float* scratch(int worker) { return scratch_[worker].get(); }
  // Shared by the tasks of one op; grows, never shrinks.
  float* shared(int64_t count) {
    if (count > shared_count_) {
      shared_.reset();
      shared_ = floats(count);
      shared_count_ = count;
    }
    return shared_.get();
  }

  const Kernels& kernels;
  Pool pool;

 private:
  struct Free {
    void operator()(float* p) const { ::operator delete(p, std::align_val_t(64)); }
  };
  using Floats = std::unique_ptr<float, Free>;
  static Floats floats(int64_t count) {
    void* p = ::operator new(count * sizeof(float), std::align_val_t(64), std::nothrow);
    if (!p) fail("OUT_OF_MEMORY", "cpu: ", count * sizeof(float), " bytes of scratch memory could not be allocated");
    return Floats(static_cast<float*>(p));
  }

  std::vector<Floats> scratch_;
  Floats shared_;
  int64_t shared_count_ = 0;
};

}  // namespace m2::cpu
