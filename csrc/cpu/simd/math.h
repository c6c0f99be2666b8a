// Functions of 16 lanes over any of the wrappers, and walks over rows whose width need not be a multiple of 16.
#pragma once
#include "cpu/simd/inline.h"

namespace m2::cpu {

struct All {};  // lanes

// body(i, lanes) for i = 0, 16, 32, ..: lanes is All, at last an int if the row has fewer left.
template <class Body>
M2_INLINE void each_vector(int64_t first, int64_t last, const Body& body) {
  int64_t i = first;
  for (; i + 16 <= last; i += 16) body(i, All());
  if (i < last) body(i, static_cast<int>(last - i));
}

template <class S>
M2_INLINE typename S::F load(const float* p, All) {
  return S::load(p);
}
template <class S>
M2_INLINE typename S::F load(const float* p, int lanes) {
  return S::load_part(p, lanes);
}
// The lanes from a; those behind them, if any, from b.
template <class S>
M2_INLINE typename S::F first(All, typename S::F a, typename S::F) {
  return a;
}
template <class S>
M2_INLINE typename S::F first(int lanes, typename S::F a, typename S::F b) {
  return S::first(lanes, a, b);
}

// e^x to 1e-7 relative: e^x = 2^n e^r with |r| <= ln(2) / 2 and e^r as its series to r^7 (the rest is below 1e-8). 1 at 0, NaN at NaN, 0 below -87.3,
// about 2e38 above 88.3.
template <class S>
M2_INLINE typename S::F exp(typename S::F x) {
  using F = typename S::F;
  const F smallest = S::set(-87.3f);
  const F y = S::max(smallest, S::min(S::set(88.3f), x));
  const F n = S::round(S::mul(y, S::set(0x1.715476p0f)));
  F r = S::fma(n, S::set(-0x1.62e4p-1f), y);  // ln 2 in two parts: n times the first is exact
  r = S::fma(n, S::set(-0x1.7f7d1cp-20f), r);
  F p = S::set(1.f / 5040);
  p = S::fma(p, r, S::set(1.f / 720));
  p = S::fma(p, r, S::set(1.f / 120));
  p = S::fma(p, r, S::set(1.f / 24));
  p = S::fma(p, r, S::set(1.f / 6));
  p = S::fma(p, r, S::set(0.5f));
  p = S::fma(p, r, S::set(1));
  p = S::fma(p, r, S::set(1));
  return S::where_less(x, smallest, S::zero(), S::mul(p, S::power_of_2(n)));
}

template <class S>
M2_INLINE typename S::F sigmoid(typename S::F x) {
  return S::div(S::set(1), S::add(S::set(1), exp<S>(S::sub(S::zero(), x))));
}

}  // namespace m2::cpu
