// Clusters: blocks that run together and reach each other's shared memory. A block does not end before the others have done with its memory.
#pragma once
#include "cuda/ptx/form.h"

namespace m2::cuda::ptx {

M2_PTX uint32_t cluster_rank() {
  uint32_t v = 0;
  M2_MODEL(v = emulator::cluster_rank();)
  M2_ASM_90(asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(v));)
  return v;
}

M2_PTX uint32_t cluster_blocks() {
  uint32_t v = 1;
  M2_MODEL(v = emulator::cluster_blocks();)
  M2_ASM_90(asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(v));)
  return v;
}

// Between the two a thread may do what needs no other block.
M2_PTX void cluster_arrive(M2_SITE) {
  M2_MODEL(emulator::cluster_arrive(site);)
  M2_ASM_90(asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");)
}

M2_PTX void cluster_wait(M2_SITE) {
  M2_MODEL(emulator::cluster_wait(site);)
  M2_ASM_90(asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");)
}

// An address of this block's shared memory -> the same place in another block's.
M2_PTX uint32_t map_shared(uint32_t shared, uint32_t rank) {
  uint32_t v = shared;
  M2_MODEL(v = emulator::map_shared(shared, rank);)
  M2_ASM_90(asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(v) : "r"(shared), "r"(rank));)
  return v;
}

M2_PTX uint32_t ld_cluster(uint32_t address) {
  uint32_t v = 0;
  M2_MODEL(emulator::load_cluster(&v, address, 4);)
  M2_ASM_90(asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(v) : "r"(address) : "memory");)
  return v;
}

M2_PTX void st_cluster(uint32_t address, uint32_t value) {
  M2_MODEL(emulator::store_cluster(address, &value, 4);)
  M2_ASM_90(asm volatile("st.shared::cluster.u32 [%0], %1;" ::"r"(address), "r"(value) : "memory");)
}

}  // namespace m2::cuda::ptx
