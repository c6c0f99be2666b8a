// Loads and prefetches with a say in what the caches keep; loads, stores and atomics with a say in what comes before and after them, for flags between
// blocks: what a thread wrote before a release can be read by one whose acquire has seen it.
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

M2_PTX uint32_t ld_acquire(const uint32_t* global M2_AND_SITE) {
  M2_MODEL(return emulator::load_acquire(global, site);)
  M2_ASM(uint32_t v; asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(global) : "memory"); return v;)
}

M2_PTX void st_release(uint32_t* global, uint32_t value M2_AND_SITE) {
  M2_MODEL(emulator::store_release(global, value, site);)
  M2_ASM(asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(global), "r"(value) : "memory");)
}

// What was there before.
M2_PTX uint32_t atomic_add_acquire_release(uint32_t* global, uint32_t value M2_AND_SITE) {
  M2_MODEL(return emulator::add_acquire_release(global, value, site);)
  M2_ASM(uint32_t v; asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], %2;" : "=r"(v) : "l"(global), "r"(value) : "memory"); return v;)
}

M2_PTX void red_add_release(uint32_t* global, uint32_t value M2_AND_SITE) {
  M2_MODEL(emulator::add_release(global, value, site);)
  M2_ASM(asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(global), "r"(value) : "memory");)
}

}  // namespace m2::cuda::ptx
