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

// steps times dot on as many independent sums as the latency of the instruction takes; returns the operations done.
template <class S>
int64_t multiply(int64_t steps, float* sink) {
  constexpr int kSums = S::kTileAccumulators < 12 ? S::kTileAccumulators : 12;
  bf16 values[2 * kLanes] = {};
  asm volatile("" : : "r"(values) : "memory");  // unknown to the compiler from here on
  const typename S::Pairs a = S::load_pairs(values, 0), b = S::broadcast_pair(values, 0);
  typename S::F sums[kSums];
#pragma GCC unroll 16
  for (int i = 0; i < kSums; i++) sums[i] = S::set(static_cast<float>(i));
  for (int64_t step = 0; step < steps; step++) {
#pragma GCC unroll 16
    for (int i = 0; i < kSums; i++) sums[i] = S::dot(a, b, sums[i]);
  }
  for (int i = 0; i < kSums; i++) S::store(sink + i * kLanes, sums[i]);
  return steps * kSums * 4 * kLanes / S::kDotParts;
}

}  // namespace m2::cpu
