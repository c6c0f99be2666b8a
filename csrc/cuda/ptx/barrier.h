// Named barriers of a block: 16 of them, 0 is that of __syncthreads. All threads of a warp come together; `threads` is a multiple of 32.
#pragma once
#include "cuda/ptx/form.h"

namespace m2::cuda::ptx {

M2_PTX void barrier_sync(int id, int threads M2_AND_SITE) {
  M2_MODEL(emulator::barrier_sync(id, threads, site);)
  M2_ASM(asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");)
}

// Counts as having come, and goes on.
M2_PTX void barrier_arrive(int id, int threads M2_AND_SITE) {
  M2_MODEL(emulator::barrier_arrive(id, threads, site);)
  M2_ASM(asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");)
}

}  // namespace m2::cuda::ptx
