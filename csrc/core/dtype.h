// Element types and their conversions on the host.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace m2 {

enum class DType : uint8_t { kF32 = 0, kBf16 = 1, kF16 = 2, kF8E4m3 = 3, kI32 = 4, kU8 = 5 };

constexpr size_t dtype_bytes(DType t) { return t == DType::kF32 || t == DType::kI32 ? 4 : t == DType::kF8E4m3 || t == DType::kU8 ? 1 : 2; }
constexpr const char* dtype_name(DType t) {
  constexpr const char* kNames[] = {"f32", "bf16", "f16", "f8_e4m3", "i32", "u8"};
  return kNames[static_cast<int>(t)];
}

struct bf16 {
  uint16_t bits;
};
struct f16 {
  uint16_t bits;
};
struct f8 {  // e4m3: no infinities, NaN is all ones below the sign
  uint8_t bits;
};

template <class T>
constexpr DType kDTypeOf = DType::kF32;
template <>
inline constexpr DType kDTypeOf<bf16> = DType::kBf16;
template <>
inline constexpr DType kDTypeOf<f16> = DType::kF16;
template <>
inline constexpr DType kDTypeOf<f8> = DType::kF8E4m3;
template <>
inline constexpr DType kDTypeOf<int32_t> = DType::kI32;
template <>
inline constexpr DType kDTypeOf<uint8_t> = DType::kU8;

inline float to_f32(float x) { return x; }

inline float to_f32(bf16 x) {
  uint32_t u = static_cast<uint32_t>(x.bits) << 16;
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}

// Round to nearest even; NaN stays NaN.
inline bf16 to_bf16(float f) {
  uint32_t u;
  std::memcpy(&u, &f, 4);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((u >> 16) | 0x40)};
  return {static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1)) >> 16)};
}

// IEEE half to float, subnormals included.
inline float to_f32(f16 h) {
  const uint32_t sign = static_cast<uint32_t>(h.bits & 0x8000) << 16, exponent = (h.bits >> 10) & 31, mantissa = h.bits & 1023;
  float f;
  uint32_t u;
  if (exponent == 0) {
    f = static_cast<float>(mantissa) * 0x1p-24f;
    std::memcpy(&u, &f, 4);
    u |= sign;
  } else {
    u = sign | ((exponent == 31 ? 255u : exponent + 112) << 23) | (mantissa << 13);
  }
  std::memcpy(&f, &u, 4);
  return f;
}

// e4m3 to float, subnormals included.
inline float to_f32(f8 x) {
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x80) << 24, magnitude = x.bits & 0x7f;
  uint32_t u = magnitude << 20;
  float f;
  std::memcpy(&f, &u, 4);
  f *= 0x1p120f;
  std::memcpy(&u, &f, 4);
  u = sign | (magnitude == 0x7f ? 0x7fc00000u : u);
  std::memcpy(&f, &u, 4);
  return f;
}

// Round to nearest even, of at most 448; NaN stays NaN. For both sides of a GPU.
constexpr f8 to_f8(float f) {
  const uint32_t u = __builtin_bit_cast(uint32_t, f), size = u & 0x7fffffffu;
  uint32_t bits;
  if (size > 0x7f800000u) bits = 0x7f;
  else if (size >= 0x43e00000u) bits = 0x7e;  // 448
  else if (size >= 0x3c800000u) bits = ((size + 0x7ffffu + ((size >> 20) & 1)) >> 20) - 960;  // 2^-6: from here on normal, with an exponent 120 lower
  else bits = __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, size) + 0x1p14f) & 0xff;  // a float of that size counts in steps of 2^-9
  return {static_cast<uint8_t>((u >> 24 & 0x80) | bits)};
}

}  // namespace m2
