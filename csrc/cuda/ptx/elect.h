// One lane of a warp, chosen by the hardware and always the same: for what one thread does for all, without a branch that the compiler sees as divergent.
#pragma once
#include "cuda/ptx/form.h"

namespace m2::cuda::ptx {

M2_PTX bool elect_one() {
  M2_MODEL(return emulator::elect(kFullMask);)
#ifndef M2_EMULATED
  uint32_t elected = threadIdx.x % kWarp == 0;
  M2_ASM_90(asm volatile("{ .reg .pred p; elect.sync _|p, 0xffffffff; selp.u32 %0, 1, 0, p; }" : "=r"(elected));)
  return elected;
#endif
}

}  // namespace m2::cuda::ptx
