// __half and __half2 under NVIDIA's names.
#pragma once
#include "emulator/language/narrow_floats.h"
#include "emulator/language/vector_types.h"

struct __half_raw {
  unsigned short x;
};

struct __half {
  uint16_t bits;

  __half() = default;
  __half(__half_raw raw) : bits(raw.x) {}
  __half(float f) : bits(m2::emulator::f32_to_f16(f)) {}
  explicit __half(double f) : __half(static_cast<float>(f)) {}
  explicit __half(int i) : __half(static_cast<float>(i)) {}
  operator float() const { return m2::emulator::f16_to_f32(bits); }
  operator __half_raw() const { return {bits}; }
};

struct alignas(4) __half2 {
  __half x, y;

  __half2() = default;
  __half2(__half x, __half y) : x(x), y(y) {}
};

using half = __half;
using half2 = __half2;

inline __half __ushort_as_half(unsigned short bits) { return __half_raw{bits}; }
inline unsigned short __half_as_ushort(__half a) { return a.bits; }
inline float __half2float(__half a) { return a; }
inline __half __float2half(float f) { return f; }
inline __half __float2half_rn(float f) { return f; }
inline __half2 make_half2(__half x, __half y) { return {x, y}; }
inline __half2 __float2half2_rn(float f) { return {f, f}; }
inline __half2 __floats2half2_rn(float x, float y) { return {x, y}; }
inline __half2 __float22half2_rn(float2 f) { return {f.x, f.y}; }
inline float2 __half22float2(__half2 a) { return {a.x, a.y}; }
inline float __low2float(__half2 a) { return a.x; }
inline float __high2float(__half2 a) { return a.y; }
inline __half __low2half(__half2 a) { return a.x; }
inline __half __high2half(__half2 a) { return a.y; }
inline __half2 __half2half2(__half a) { return {a, a}; }
inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
