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
  for (int64_t i = 0; i < n; i += kLanes) {
    const int lanes = static_cast<int>(n - i < kLanes ? n - i : kLanes);
    const typename S::F v = S::first(lanes, S::load_part(x + i, lanes), lowest);
    nan |= S::nan(v);
    largest = S::max(v, largest);
  }
  return {S::largest(largest), nan != 0};
}

template <class S>
double sum_exp(const float* x, int64_t n, float largest, float factor) {
  constexpr int64_t kBlock = 64 * kLanes;  // summed in float32 by lane, the blocks in float64
  double total = 0;
  for (int64_t first = 0; first < n; first += kBlock) {
    const int64_t last = first + kBlock < n ? first + kBlock : n;
    typename S::F sum = S::zero();
    for (int64_t i = first; i < last; i += kLanes) {
      const int lanes = static_cast<int>(last - i < kLanes ? last - i : kLanes);
      const typename S::F power = S::mul(S::sub(S::load_part(x + i, lanes), S::set(largest)), S::set(factor));
      sum = S::add(sum, S::first(lanes, exp<S>(power), S::zero()));
    }
    total += S::sum(sum);
  }
  return total;
}

template <class S>
int64_t find_greater(const float* x, int64_t begin, int64_t end, float bound) {
  for (int64_t i = begin; i < end; i += kLanes) {
    const int lanes = static_cast<int>(end - i < kLanes ? end - i : kLanes);
    const uint32_t found = S::greater(S::load_part(x + i, lanes), S::set(bound)) & ((1u << lanes) - 1);
    if (found) return i + __builtin_ctz(found);
  }
  return end;
}

}  // namespace m2::cpu
