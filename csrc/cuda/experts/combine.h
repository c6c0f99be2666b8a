// What the experts of a token give together, for whoever has their rows: unpermute.cu, and the blocks that write the last of them.
#pragma once
#include "cuda/vectors.h"

namespace m2::cuda {

// kColumns (4 or 8) neighbouring columns: out += sum over a, in order, of weights[a] * y[target[a]]. Without experts (target[0] below 0) nothing.
template <int kColumns>
__device__ __forceinline__ void add_experts(const __nv_bfloat16* y, const int32_t* target, const float* weights, int active, int width, int column, float* out) {
  if (target[0] < 0) return;
  float sums[kColumns] = {};
  for (int a = 0; a < active; a++) {
    const float weight = weights[a];
    float values[kColumns];
    const __nv_bfloat16* row = y + static_cast<int64_t>(target[a]) * width + column;
    if constexpr (kColumns == 8) load_bf16x8(row, values);
    else load_bf16x4(row, values);
#pragma unroll
    for (int i = 0; i < kColumns; i++) sums[i] = fmaf(weight, values[i], sums[i]);
  }
  float4* to = reinterpret_cast<float4*>(out + column);
#pragma unroll
  for (int i = 0; i < kColumns / 4; i++) {
    const float4 before = to[i];
    to[i] = {before.x + sums[4 * i], before.y + sums[4 * i + 1], before.z + sums[4 * i + 2], before.w + sums[4 * i + 3]};
  }
}

}  // namespace m2::cuda
