// Passes over a row of logits.
#pragma once
#include "cpu/kernels.h"
#include "cpu/simd/math.h"

namespace m2::cpu {

template <class S>
RowFacts row_facts(const float* x, int64_t n) {
  const typename S::F lowest = S::set(-__builtin_inff());
  typename S::F largest = lowest;
  uint32_t nan = 0;
  each_vector(0, n, [&](int64_t i, auto lanes) M2_INLINE_LAMBDA {
    const typename S::F v = load<S>(x + i, lanes);
    nan |= S::nan(v);
    largest = S::max(first<S>(lanes, v, lowest), largest);
  });
  return {S::largest(largest), nan != 0};
}

// Each lane sums 64 values in float32 and keeps what the roundings lost; blocks and lanes are added in float64. So the error is that of e^x alone, which
// is nothing for the largest term, and a logprob near 0 keeps its digits.
template <class S>
double sum_exp(const float* x, int64_t n, float largest, float factor) {
  using F = typename S::F;
  constexpr int64_t kBlock = 64 * kLanes;
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    F sum = S::zero(), lost = S::zero();
    each_vector(begin, begin + kBlock < n ? begin + kBlock : n, [&](int64_t i, auto lanes) M2_INLINE_LAMBDA {
      const F power = S::mul(S::sub(load<S>(x + i, lanes), S::set(largest)), S::set(factor));
      const F e = first<S>(lanes, exp<S>(power), S::zero()), next = S::add(sum, e), back = S::sub(next, sum);
      lost = S::add(lost, S::add(S::sub(sum, S::sub(next, back)), S::sub(e, back)));
      sum = next;
    });
    float sums[kLanes], losses[kLanes];
    S::store(sums, sum);
    S::store(losses, lost);
    for (int i = 0; i < kLanes; i++) total += static_cast<double>(sums[i]) + losses[i];
  }
  return total;
}

template <class S>
int64_t find_greater(const float* x, int64_t begin, int64_t end, float bound) {
  for (int64_t i = begin; i < end; i += kLanes) {
    const int lanes = static_cast<int>(end - i < kLanes ? end - i : kLanes);
    const typename S::F v = lanes == kLanes ? S::load(x + i) : S::load_part(x + i, lanes);
    const uint32_t found = S::greater(v, S::set(bound)) & ((1u << lanes) - 1);
    if (found) return i + __builtin_ctz(found);
  }
  return end;
}

}  // namespace m2::cpu
