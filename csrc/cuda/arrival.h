// How the blocks of a launch tell which of them is last.
#pragma once
#include "cuda/device.h"
#include "cuda/ptx/memory.h"

namespace m2::cuda {

// Whether the calling block is the last of `blocks` that come here: it then sees all that the others wrote before they came. `counter` is one of
// Machine::counters, behind ptx::wait_for_previous_kernel: zero before the first comes, and again once the last has come.
__device__ __forceinline__ bool is_last_block(uint32_t* counter, uint32_t blocks) {
  __syncthreads();  // what the block's threads wrote is in front of what the first of them releases
  const bool last = threadIdx.x == 0 && ptx::atomic_add_acquire_release(counter, 1) == blocks - 1;
  if (last) *counter = 0;
  return __syncthreads_or(last);
}

}  // namespace m2::cuda
