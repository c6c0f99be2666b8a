// CUDA's arithmetic functions. The approximate ones (__expf, __fdividef, rsqrtf ..) are exact here: tests allow for the hardware's last bits.
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>

#include "emulator/language/narrow_floats.h"

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fmaf(a, b, c); }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frsqrt_rn(float a) { return static_cast<float>(1.0 / std::sqrt(static_cast<double>(a))); }
inline float rsqrtf(float a) { return __frsqrt_rn(a); }
inline double rsqrt(double a) { return 1.0 / std::sqrt(a); }
inline float __expf(float a) { return std::exp(a); }
inline float __exp10f(float a) { return static_cast<float>(std::pow(10.0, static_cast<double>(a))); }
inline float __logf(float a) { return std::log(a); }
inline float __log2f(float a) { return std::log2(a); }
inline float __sinf(float a) { return std::sin(a); }
inline float __cosf(float a) { return std::cos(a); }
inline float __powf(float a, float b) { return std::pow(a, b); }
inline float __tanhf(float a) { return std::tanh(a); }
inline float __saturatef(float a) { return a >= 0.0f ? (a > 1.0f ? 1.0f : a) : 0.0f; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }

inline int max(int a, int b) { return a > b ? a : b; }
inline int min(int a, int b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, int b) { return max(a, static_cast<unsigned>(b)); }
inline unsigned min(unsigned a, int b) { return min(a, static_cast<unsigned>(b)); }
inline unsigned max(int a, unsigned b) { return max(static_cast<unsigned>(a), b); }
inline unsigned min(int a, unsigned b) { return min(static_cast<unsigned>(a), b); }
inline long max(long a, long b) { return a > b ? a : b; }
inline long min(long a, long b) { return a < b ? a : b; }
inline unsigned long max(unsigned long a, unsigned long b) { return a > b ? a : b; }
inline unsigned long min(unsigned long a, unsigned long b) { return a < b ? a : b; }
inline long long max(long long a, long long b) { return a > b ? a : b; }
inline long long min(long long a, long long b) { return a < b ? a : b; }
inline unsigned long long max(unsigned long long a, unsigned long long b) { return a > b ? a : b; }
inline unsigned long long min(unsigned long long a, unsigned long long b) { return a < b ? a : b; }
inline float max(float a, float b) { return std::fmax(a, b); }
inline float min(float a, float b) { return std::fmin(a, b); }
inline double max(double a, double b) { return std::fmax(a, b); }
inline double min(double a, double b) { return std::fmin(a, b); }

inline unsigned __float_as_uint(float f) { return m2::emulator::bit_copy<unsigned>(f); }
inline int __float_as_int(float f) { return m2::emulator::bit_copy<int>(f); }
inline float __uint_as_float(unsigned u) { return m2::emulator::bit_copy<float>(u); }
inline float __int_as_float(int i) { return m2::emulator::bit_copy<float>(i); }
inline long long __double_as_longlong(double f) { return m2::emulator::bit_copy<long long>(f); }
inline double __longlong_as_double(long long i) { return m2::emulator::bit_copy<double>(i); }

inline float __double2float_rn(double f) { return static_cast<float>(f); }
inline float __int2float_rn(int i) { return static_cast<float>(i); }
inline float __uint2float_rn(unsigned i) { return static_cast<float>(i); }
inline float __ull2float_rn(unsigned long long i) { return static_cast<float>(i); }
inline float __ll2float_rn(long long i) { return static_cast<float>(i); }
inline double __int2double_rn(int i) { return i; }
inline double __uint2double_rn(unsigned i) { return i; }

namespace m2::emulator {

// As the hardware converts: out of range saturates, NaN is 0.
template <class Int>
inline Int float_to_int(double rounded) {
  if (rounded != rounded) return 0;
  constexpr double kLow = static_cast<double>(std::numeric_limits<Int>::min()), kHigh = static_cast<double>(std::numeric_limits<Int>::max());
  if (rounded <= kLow) return std::numeric_limits<Int>::min();
  if (rounded >= kHigh) return std::numeric_limits<Int>::max();
  return static_cast<Int>(rounded);
}

}  // namespace m2::emulator

inline int __float2int_rn(float f) { return m2::emulator::float_to_int<int>(std::nearbyint(f)); }
inline int __float2int_rz(float f) { return m2::emulator::float_to_int<int>(std::trunc(f)); }
inline int __float2int_rd(float f) { return m2::emulator::float_to_int<int>(std::floor(f)); }
inline int __float2int_ru(float f) { return m2::emulator::float_to_int<int>(std::ceil(f)); }
inline unsigned __float2uint_rn(float f) { return m2::emulator::float_to_int<unsigned>(std::nearbyint(f)); }
inline unsigned __float2uint_rz(float f) { return m2::emulator::float_to_int<unsigned>(std::trunc(f)); }
inline int __double2int_rn(double f) { return m2::emulator::float_to_int<int>(std::nearbyint(f)); }
inline int __double2int_rz(double f) { return m2::emulator::float_to_int<int>(std::trunc(f)); }

inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
inline int __clz(int v) { return v ? __builtin_clz(static_cast<unsigned>(v)) : 32; }
inline int __clzll(long long v) { return v ? __builtin_clzll(static_cast<unsigned long long>(v)) : 64; }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __ffsll(long long v) { return __builtin_ffsll(v); }
inline unsigned __brev(unsigned v) {
  v = (v >> 1 & 0x55555555u) | (v & 0x55555555u) << 1;
  v = (v >> 2 & 0x33333333u) | (v & 0x33333333u) << 2;
  v = (v >> 4 & 0x0f0f0f0fu) | (v & 0x0f0f0f0fu) << 4;
  return __builtin_bswap32(v);
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const uint64_t bytes = static_cast<uint64_t>(b) << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; i++) {
    const unsigned nibble = selector >> 4 * i & 15, byte = bytes >> 8 * (nibble & 7) & 255;
    result |= (nibble & 8 ? (byte & 128 ? 255u : 0u) : byte) << 8 * i;
  }
  return result;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<uint64_t>(high) << 32 | low) << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<uint64_t>(high) << 32 | low) >> (shift & 31));
}
inline int __mulhi(int a, int b) { return static_cast<int>(static_cast<int64_t>(a) * b >> 32); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline unsigned __sad(int a, int b, unsigned c) { return c + static_cast<unsigned>(a > b ? a - b : b - a); }
