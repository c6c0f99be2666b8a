// Approximations of the special function unit.
#pragma once
#include "cuda/ptx/form.h"

namespace m2::cuda::ptx {

// 2^x, to about 2 units in the last place; subnormal numbers are 0.
M2_PTX float exp2_approx(float x) {
  M2_MODEL(return emulator::exp2_flushed(x);)
  M2_ASM(float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y;)
}

}  // namespace m2::cuda::ptx
