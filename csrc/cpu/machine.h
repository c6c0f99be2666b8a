// What every launcher needs: the kernels, the threads and their scratch memory. One op at a time.
#pragma once
#include <algorithm>
#include <vector>

#include "cpu/kernels.h"
#include "cpu/memory.h"
#include "cpu/threads.h"

namespace m2::cpu {

class Machine {
 public:
  Machine(const Kernels& kernels, int threads) : kernels(kernels), pool(threads) {
    for (int i = 0; i < pool.threads(); i++) scratch_.push_back(allocate(std::max(kGemmScratch, kAttentionScratch) * sizeof(float)));
  }

  // Of one worker, while it is in a task.
  float* scratch(int worker) { return static_cast<float*>(scratch_[worker].data()); }
  // Shared by the tasks of one op; grows, never shrinks.
  float* shared(int64_t count) {
    const size_t bytes = count * sizeof(float);
    if (bytes > shared_.bytes()) {
      shared_ = Buffer();
      shared_ = allocate(bytes);
    }
    return static_cast<float*>(shared_.data());
  }

  const Kernels& kernels;
  Pool pool;

 private:
  std::vector<Buffer> scratch_;
  Buffer shared_;
};

}  // namespace m2::cpu
