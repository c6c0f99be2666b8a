// __nv_fp8_e4m3, __nv_fp8_e5m2 and their conversions under NVIDIA's names.
#pragma once
#include "emulator/language/half.h"

using __nv_fp8_storage_t = unsigned char;
using __nv_fp8x2_storage_t = unsigned short;
using __nv_fp8x4_storage_t = unsigned;

enum __nv_saturation_t { __NV_NOSAT, __NV_SATFINITE };
enum __nv_fp8_interpretation_t { __NV_E4M3, __NV_E5M2 };

// Saturating only: what kernels here store is always clamped.
inline __nv_fp8_storage_t __nv_cvt_float_to_fp8(float f, __nv_saturation_t, __nv_fp8_interpretation_t type) {
  return type == __NV_E4M3 ? m2::emulator::f32_to_e4m3(f) : m2::emulator::f32_to_e5m2(f);
}
inline __nv_fp8x2_storage_t __nv_cvt_float2_to_fp8x2(float2 f, __nv_saturation_t saturation, __nv_fp8_interpretation_t type) {
  return static_cast<__nv_fp8x2_storage_t>(__nv_cvt_float_to_fp8(f.x, saturation, type) | __nv_cvt_float_to_fp8(f.y, saturation, type) << 8);
}
inline __half_raw __nv_cvt_fp8_to_halfraw(__nv_fp8_storage_t bits, __nv_fp8_interpretation_t type) {
  return __half(type == __NV_E4M3 ? m2::emulator::e4m3_to_f32(bits) : m2::emulator::e5m2_to_f32(bits));
}

struct __nv_fp8_e4m3 {
  __nv_fp8_storage_t __x;

  __nv_fp8_e4m3() = default;
  explicit __nv_fp8_e4m3(float f) : __x(m2::emulator::f32_to_e4m3(f)) {}
  explicit operator float() const { return m2::emulator::e4m3_to_f32(__x); }
};

struct __nv_fp8_e5m2 {
  __nv_fp8_storage_t __x;

  __nv_fp8_e5m2() = default;
  explicit __nv_fp8_e5m2(float f) : __x(m2::emulator::f32_to_e5m2(f)) {}
  explicit operator float() const { return m2::emulator::e5m2_to_f32(__x); }
};
