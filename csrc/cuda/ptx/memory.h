// Loads and prefetches with a say in what the caches keep.
#pragma once
#include "cuda/ptx/form.h"

namespace m2::cuda::ptx {

// 16 bytes that nobody writes while the kernel runs and that are read once: they are not kept in L1.
M2_PTX uint4 ld_global_streaming(const void* global) {
  uint4 v;
  M2_MODEL(emulator::load_streaming_16(&v, global);)
  M2_ASM(asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(global));)
  return v;
}

// Has L2 fetch what is at an address; one that is none does no harm.
M2_PTX void prefetch_l2(const void* global) {
  M2_MODEL(emulator::prefetch_l2(global);)
  M2_ASM(asm volatile("prefetch.global.L2 [%0];" ::"l"(global));)
}

}  // namespace m2::cuda::ptx
