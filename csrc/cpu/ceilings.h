// What this machine does at best, for the benches to measure products against: bytes read from memory, and operations of the instructions that
// products use, by all threads at once and without anything else to do.
#pragma once
#include <cstddef>

#include "core/view.h"
#include "cpu/machine.h"

namespace m2::cpu {

struct Work {
  double amount;  // bytes or operations
  double microseconds;
};

class Ceilings {
 public:
  // threads: 0 for physical cores. bytes: what one `read` reads; more than the caches hold.
  Ceilings(int threads, size_t bytes);

  Work read();
  Work multiply_f32();
  Work multiply_bf16();

 private:
  Work multiply(int64_t (*loop)(int64_t steps, float* sink));

  Machine m_;
  Buffer data_;
};

}  // namespace m2::cpu
