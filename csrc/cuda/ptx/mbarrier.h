// mbarriers: barriers in shared memory (8 bytes, aligned to 8) that count arrivals and bytes. A phase is over when `count` have arrived and all announced
// bytes have come; waits name the parity of the phase, 0 for the first. Whoever reuses a stage arrives once per warp and not once per warpgroup: PTX does
// not say that the warps of a warpgroup finish a wgmma together.
#pragma once
#include "cuda/ptx/form.h"

namespace m2::cuda::ptx {

M2_PTX void mbarrier_init(uint32_t mbarrier, uint32_t count) {
  M2_MODEL(emulator::mbarrier_init(mbarrier, count);)
  M2_ASM(asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(mbarrier), "r"(count) : "memory");)
}

M2_PTX void mbarrier_invalidate(uint32_t mbarrier) {
  M2_MODEL(emulator::mbarrier_invalidate(mbarrier);)
  M2_ASM(asm volatile("mbarrier.inval.shared.b64 [%0];" ::"r"(mbarrier) : "memory");)
}

// After the inits, by the thread that made them: the copy engine and the other blocks of the cluster see them (after a barrier).
M2_PTX void fence_mbarrier_init(M2_SITE) {
  M2_MODEL(emulator::fence_mbarrier_init(site);)
  M2_ASM_90(asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");)
}

// What this thread can see of shared memory, the copy engine and wgmma see too.
M2_PTX void fence_proxy_async(M2_SITE) {
  M2_MODEL(emulator::fence_proxy_async(site);)
  M2_ASM_90(asm volatile("fence.proxy.async.shared::cta;" ::: "memory");)
}

M2_PTX void mbarrier_arrive(uint32_t mbarrier M2_AND_SITE) {
  M2_MODEL(emulator::mbarrier_arrive(mbarrier, 1, site);)
  M2_ASM(asm volatile("{ .reg .b64 state; mbarrier.arrive.shared.b64 state, [%0]; }" ::"r"(mbarrier) : "memory");)
}

M2_PTX void mbarrier_arrive_many(uint32_t mbarrier, uint32_t count M2_AND_SITE) {
  M2_MODEL(emulator::mbarrier_arrive(mbarrier, count, site);)
  M2_ASM_90(asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0], %1;" ::"r"(mbarrier), "r"(count) : "memory");)
}

// At the mbarrier of any block of the cluster; the address is map_shared's.
M2_PTX void mbarrier_arrive_cluster(uint32_t mbarrier M2_AND_SITE) {
  M2_MODEL(emulator::mbarrier_arrive(mbarrier, 1, site);)
  M2_ASM_90(asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(mbarrier) : "memory");)
}

M2_PTX void mbarrier_expect_bytes(uint32_t mbarrier, uint32_t bytes M2_AND_SITE) {
  M2_MODEL(emulator::mbarrier_expect_bytes(mbarrier, bytes, site);)
  M2_ASM_90(asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(mbarrier), "r"(bytes) : "memory");)
}

M2_PTX void mbarrier_arrive_expect_bytes(uint32_t mbarrier, uint32_t bytes M2_AND_SITE) {
  M2_MODEL(emulator::mbarrier_arrive_expect_bytes(mbarrier, bytes, site);)
  M2_ASM_90(asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(mbarrier), "r"(bytes) : "memory");)
}

// Whether the phase of that parity is over.
M2_PTX bool mbarrier_test(uint32_t mbarrier, uint32_t parity M2_AND_SITE) {
  M2_MODEL(return emulator::mbarrier_test(mbarrier, parity, site);)
  M2_ASM_90(uint32_t over;
            asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                         : "=r"(over)
                         : "r"(mbarrier), "r"(parity)
                         : "memory");
            return over;)
#if !defined(M2_EMULATED) && !(defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900)
  return false;
#endif
}

// Until it is over.
M2_PTX void mbarrier_wait(uint32_t mbarrier, uint32_t parity M2_AND_SITE) {
  M2_MODEL(emulator::mbarrier_wait(mbarrier, parity, site);)
  M2_ASM_90(asm volatile("{ .reg .pred p;\n"
                         "again: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
                         "@!p bra again; }" ::"r"(mbarrier),
                         "r"(parity)
                         : "memory");)
}

}  // namespace m2::cuda::ptx
