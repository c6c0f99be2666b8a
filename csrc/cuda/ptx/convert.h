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

// Two floats as e4m3, of at most 448, the first in the low byte; NaN stays NaN.
M2_PTX uint16_t cvt_e4m3x2_f32(float low, float high) {
  uint16_t v = 0;
  M2_MODEL(v = static_cast<uint16_t>(emulator::f32_to_e4m3(low) | emulator::f32_to_e4m3(high) << 8);)
  M2_ASM_90(asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(v) : "f"(high), "f"(low));)
  return v;
}

}  // namespace m2::cuda::ptx
