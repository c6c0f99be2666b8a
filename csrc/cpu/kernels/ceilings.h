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

// `steps` times step(sum) on as many independent sums as a product's tile keeps; returns how often.
template <class S, class Step>
M2_INLINE int64_t repeat(int64_t steps, float* sink, const Step& step) {
  constexpr int kSums = S::kTileAccumulators < 12 ? S::kTileAccumulators : 12;
  typename S::F sums[kSums];
#pragma GCC unroll 16
  for (int i = 0; i < kSums; i++) sums[i] = S::set(static_cast<float>(i));
  for (int64_t n = 0; n < steps; n++) {
#pragma GCC unroll 16
    for (int i = 0; i < kSums; i++) sums[i] = step(sums[i]);
  }
  for (int i = 0; i < kSums; i++) S::store(sink + i * kLanes, sums[i]);
  return steps * kSums;
}

// The instruction of products in float32; returns the operations done.
template <class S>
int64_t multiply_f32(int64_t steps, float* sink) {
  const typename S::F a = S::set(sink[0]);
  return 2 * kLanes * repeat<S>(steps, sink, [&](typename S::F sum) M2_INLINE_LAMBDA { return S::fma(a, a, sum); });
}

// The instruction of products in bf16; returns the operations done.
template <class S>
int64_t multiply_bf16(int64_t steps, float* sink) {
  bf16 zeros[2 * kLanes] = {};
  asm volatile("" : : "r"(zeros) : "memory");  // from here on the compiler does not know what they are
  const typename S::Pairs a = S::load_pairs(zeros, 0), b = S::broadcast_pair(zeros, 0);
  return 4 * kLanes / S::kDotParts * repeat<S>(steps, sink, [&](typename S::F sum) M2_INLINE_LAMBDA { return S::dot(a, b, sum); });
}

}  // namespace m2::cpu
