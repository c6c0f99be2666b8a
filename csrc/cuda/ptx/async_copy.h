// cp.async: copies from global to shared memory that run while the thread goes on. Each thread waits for its own copies; the others see them after a
// barrier behind that wait.
#pragma once
#include "cuda/ptx/form.h"

namespace m2::cuda::ptx {

// 16 bytes past L1, of which the first source_bytes (0 to 16) are read and the others become zero. The hint has L2 fetch 128 bytes.
M2_PTX void cp_async_16(uint32_t shared, const void* global, int source_bytes = 16) {
  M2_MODEL(emulator::cp_async(shared, global, 16, source_bytes);)
  M2_ASM(asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared), "l"(global), "r"(source_bytes) : "memory");)
}

M2_PTX void cp_async_8(uint32_t shared, const void* global, int source_bytes = 8) {
  M2_MODEL(emulator::cp_async(shared, global, 8, source_bytes);)
  M2_ASM(asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared), "l"(global), "r"(source_bytes) : "memory");)
}

M2_PTX void cp_async_4(uint32_t shared, const void* global, int source_bytes = 4) {
  M2_MODEL(emulator::cp_async(shared, global, 4, source_bytes);)
  M2_ASM(asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared), "l"(global), "r"(source_bytes) : "memory");)
}

// The copies issued since the last commit become a group.
M2_PTX void cp_async_commit(M2_SITE) {
  M2_MODEL(emulator::cp_async_commit(site);)
  M2_ASM(asm volatile("cp.async.commit_group;" ::: "memory");)
}

// Until at most kGroups of this thread's groups are under way.
template <int kGroups>
M2_PTX void cp_async_wait(M2_SITE) {
  M2_MODEL(emulator::cp_async_wait(kGroups, site);)
  M2_ASM(asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");)
}

// Until all copies are complete, committed or not.
M2_PTX void cp_async_wait_all(M2_SITE) {
  M2_MODEL(emulator::cp_async_wait_all(site);)
  M2_ASM(asm volatile("cp.async.wait_all;" ::: "memory");)
}

// One arrival at an mbarrier, whose count has room for it, when all copies of this thread up to here are complete.
M2_PTX void cp_async_mbarrier_arrive_noinc(uint32_t mbarrier M2_AND_SITE) {
  M2_MODEL(emulator::cp_async_mbarrier_arrive(mbarrier, true, site);)
  M2_ASM(asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(mbarrier) : "memory");)
}

}  // namespace m2::cuda::ptx
