// cp.async.bulk: copies by the copy engine, of multiples of 16 bytes at addresses that are multiples of 16. Into shared memory an mbarrier counts the
// bytes; out of it the issuing thread commits groups and waits for them, as with cp.async. What threads wrote to shared memory the engine reads only
// behind fence_proxy_async and a barrier.
#pragma once
#include "cuda/ptx/form.h"

namespace m2::cuda::ptx {

M2_PTX void bulk_load(uint32_t shared, const void* global, uint32_t bytes, uint32_t mbarrier) {
  M2_MODEL(emulator::bulk_load(shared, global, bytes, mbarrier);)
  M2_ASM_90(asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(shared), "l"(global), "r"(bytes),
                         "r"(mbarrier)
                         : "memory");)
}

// What is read once: it is the first to leave L2.
M2_PTX void bulk_load_streaming(uint32_t shared, const void* global, uint32_t bytes, uint32_t mbarrier) {
  M2_MODEL(emulator::bulk_load(shared, global, bytes, mbarrier);)
  M2_ASM_90(asm volatile("{ .reg .b64 policy; createpolicy.fractional.L2::evict_first.b64 policy, 1.0;\n"
                         "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], policy; }" ::"r"(shared),
                         "l"(global), "r"(bytes), "r"(mbarrier)
                         : "memory");)
}

// Between blocks of a cluster: destination and mbarrier are addresses of map_shared.
M2_PTX void bulk_copy_to_block(uint32_t destination, uint32_t source, uint32_t bytes, uint32_t mbarrier) {
  M2_MODEL(emulator::bulk_copy_to_block(destination, source, bytes, mbarrier);)
  M2_ASM_90(asm volatile("cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(destination), "r"(source),
                         "r"(bytes), "r"(mbarrier)
                         : "memory");)
}

M2_PTX void bulk_store(void* global, uint32_t shared, uint32_t bytes) {
  M2_MODEL(emulator::bulk_store(global, shared, bytes);)
  M2_ASM_90(asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(global), "r"(shared), "r"(bytes) : "memory");)
}

M2_PTX void bulk_add_f32(float* global, uint32_t shared, uint32_t bytes) {
  M2_MODEL(emulator::bulk_add_f32(global, shared, bytes);)
  M2_ASM_90(asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(global), "r"(shared), "r"(bytes) : "memory");)
}

M2_PTX void bulk_commit(M2_SITE) {
  M2_MODEL(emulator::bulk_commit(site);)
  M2_ASM_90(asm volatile("cp.async.bulk.commit_group;" ::: "memory");)
}

// Until at most kGroups of this thread's groups are not yet written.
template <int kGroups>
M2_PTX void bulk_wait(M2_SITE) {
  M2_MODEL(emulator::bulk_wait(kGroups, site);)
  M2_ASM_90(asm volatile("cp.async.bulk.wait_group %0;" ::"n"(kGroups) : "memory");)
}

// Until at most kGroups have not yet read their shared memory, which may then be used again.
template <int kGroups>
M2_PTX void bulk_wait_read(M2_SITE) {
  M2_MODEL(emulator::bulk_wait_read(kGroups, site);)
  M2_ASM_90(asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kGroups) : "memory");)
}

}  // namespace m2::cuda::ptx
