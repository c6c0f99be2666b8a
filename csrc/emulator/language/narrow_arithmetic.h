// Arithmetic on bf16 and f16, alone and in pairs: computed in float32 and rounded once, which is exact for sums and products of either type.
#pragma once
#include <concepts>

#include "emulator/language/bfloat16.h"
#include "emulator/language/half.h"

namespace m2::emulator {

template <class T>
concept Narrow = std::same_as<T, __nv_bfloat16> || std::same_as<T, __half>;
template <class T>
concept NarrowPair = std::same_as<T, __nv_bfloat162> || std::same_as<T, __half2>;

// a * b + c rounded once. The product is exact in double; the sum goes to float32 by rounding to odd (where it is not exact, to the neighbour whose last
// bit is 1), which leaves the last rounding the only one that counts.
template <Narrow T>
inline T narrow_fma(T a, T b, T c) {
  const double product = static_cast<double>(static_cast<float>(a)) * static_cast<float>(b), addend = static_cast<float>(c), sum = product + addend;
  float f = static_cast<float>(sum);
  if (!std::isfinite(sum) || !std::isfinite(f)) return T(f);
  const double part = sum - product, error = (product - (sum - part)) + (addend - part), rest = (sum - f) + error;
  if (rest != 0 && !(bit_copy<uint32_t>(f) & 1)) f = std::nextafter(f, rest > 0 ? HUGE_VALF : -HUGE_VALF);
  return T(f);
}

}  // namespace m2::emulator

#define M2_NARROW template <m2::emulator::Narrow T>
#define M2_PAIR template <m2::emulator::NarrowPair T>

M2_NARROW inline T __hadd(T a, T b) { return T(static_cast<float>(a) + static_cast<float>(b)); }
M2_NARROW inline T __hsub(T a, T b) { return T(static_cast<float>(a) - static_cast<float>(b)); }
M2_NARROW inline T __hmul(T a, T b) { return T(static_cast<float>(a) * static_cast<float>(b)); }
M2_NARROW inline T __hdiv(T a, T b) { return T(static_cast<float>(a) / static_cast<float>(b)); }
M2_NARROW inline T __hfma(T a, T b, T c) { return m2::emulator::narrow_fma(a, b, c); }
M2_NARROW inline T __hneg(T a) {
  a.bits ^= 0x8000;
  return a;
}
M2_NARROW inline T __habs(T a) {
  a.bits &= 0x7fff;
  return a;
}
M2_NARROW inline T __hmax(T a, T b) { return T(std::fmax(static_cast<float>(a), static_cast<float>(b))); }
M2_NARROW inline T __hmin(T a, T b) { return T(std::fmin(static_cast<float>(a), static_cast<float>(b))); }
M2_NARROW inline bool __heq(T a, T b) { return static_cast<float>(a) == static_cast<float>(b); }
M2_NARROW inline bool __hne(T a, T b) { return static_cast<float>(a) != static_cast<float>(b); }
M2_NARROW inline bool __hlt(T a, T b) { return static_cast<float>(a) < static_cast<float>(b); }
M2_NARROW inline bool __hle(T a, T b) { return static_cast<float>(a) <= static_cast<float>(b); }
M2_NARROW inline bool __hgt(T a, T b) { return static_cast<float>(a) > static_cast<float>(b); }
M2_NARROW inline bool __hge(T a, T b) { return static_cast<float>(a) >= static_cast<float>(b); }
M2_NARROW inline bool __hisnan(T a) { return std::isnan(static_cast<float>(a)); }

M2_PAIR inline T __hadd2(T a, T b) { return {__hadd(a.x, b.x), __hadd(a.y, b.y)}; }
M2_PAIR inline T __hsub2(T a, T b) { return {__hsub(a.x, b.x), __hsub(a.y, b.y)}; }
M2_PAIR inline T __hmul2(T a, T b) { return {__hmul(a.x, b.x), __hmul(a.y, b.y)}; }
M2_PAIR inline T __hfma2(T a, T b, T c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; }
M2_PAIR inline T __hneg2(T a) { return {__hneg(a.x), __hneg(a.y)}; }
M2_PAIR inline T __habs2(T a) { return {__habs(a.x), __habs(a.y)}; }
M2_PAIR inline T __hmax2(T a, T b) { return {__hmax(a.x, b.x), __hmax(a.y, b.y)}; }
M2_PAIR inline T __hmin2(T a, T b) { return {__hmin(a.x, b.x), __hmin(a.y, b.y)}; }

M2_NARROW inline T operator+(T a, T b) { return __hadd(a, b); }
M2_NARROW inline T operator-(T a, T b) { return __hsub(a, b); }
M2_NARROW inline T operator*(T a, T b) { return __hmul(a, b); }
M2_NARROW inline T operator/(T a, T b) { return __hdiv(a, b); }

#undef M2_NARROW
#undef M2_PAIR
