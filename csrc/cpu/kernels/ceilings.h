// Loops that only read, and that only multiply: the ceilings that products are measured against.
#pragma once
#include "cpu/kernels.h"
#include "cpu/simd/inline.h"

namespace m2::cpu {

// The bytes are combined so that the reads must happen. bytes: a multiple of 256.
template <class S>
uint32_t read(const void* data, int64_t bytes) {
  const float* p = static_cast<const float*>(data);
  typename S::F a = S::zero(), b = a, c = a, d = a;
  for (int64_t i = 0; i < bytes / 4; i += 4 * kLanes) {
    a = S::max(a, S::load(p + i));
    b = S::max(b, S::load(p + i + kLanes));
    c = S::max(c, S::load(p + i + 2 * kLanes));
    d = S::max(d, S::load(p + i + 3 * kLanes));
  }
  return S::greater(S::max(S::max(a, b), S::max(c, d)), S::zero());
}

// steps times dot2 on as many independent sums as a product's tile keeps; returns the operations done.
template <class S>
int64_t multiply(int64_t steps, float* sink) {
  constexpr int kSums = S::kTileAccumulators < 12 ? S::kTileAccumulators : 12;
  const bf16 ones[2 * kLanes] = {};
  const typename S::Pairs a = S::load_pairs(ones);
  const typename S::Pair b = S::broadcast_pair(ones);
  typename S::F sums[kSums];
#pragma GCC unroll 16
  for (int i = 0; i < kSums; i++) sums[i] = S::set(static_cast<float>(i));
  for (int64_t step = 0; step < steps; step++) {
#pragma GCC unroll 16
    for (int i = 0; i < kSums; i++) sums[i] = S::dot2(sums[i], a, b);
  }
  for (int i = 0; i < kSums; i++) S::store(sink + i * kLanes, sums[i]);
  return steps * kSums * S::kFlopsPerDot;
}

}  // namespace m2::cpu
