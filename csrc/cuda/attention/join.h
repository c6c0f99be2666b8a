// How states join: see order.h.
#pragma once
#include <limits>

#include "cuda/device.h"
#include "cuda/ptx/math.h"

namespace m2::cuda {

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();

// How a state and the next one join: their common m, and what each one's sums are multiplied by.
struct Join {
  float m, keep, take;

  __device__ __forceinline__ Join(float before, float next) : m(fmaxf(before, next)) {
    const float base = m == -kInfinity ? 0 : m;
    keep = ptx::exp2_approx(before - base);
    take = ptx::exp2_approx(next - base);
  }
  __device__ __forceinline__ float operator()(float before, float next) const { return fmaf(next, take, before * keep); }
};

}  // namespace m2::cuda
