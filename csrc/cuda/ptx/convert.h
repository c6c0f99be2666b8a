// Conversions between element types that have an instruction of their own.
#pragma once
#include "cuda/ptx/form.h"

namespace m2::cuda::ptx {

// Two e4m3, the first in the low byte, as two f16, exactly.
M2_PTX uint32_t cvt_f16x2_e4m3x2(uint16_t pair) {
  uint32_t v = 0;
  M2_MODEL(v = emulator::f32_to_f16(emulator::e4m3_to_f32(pair & 0xff)) | static_cast<uint32_t>(emulator::f32_to_f16(emulator::e4m3_to_f32(static_cast<uint8_t>(pair >> 8)))) << 16;)
  M2_ASM_90(asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(v) : "h"(pair));)
  return v;
}

}  // namespace m2::cuda::ptx
