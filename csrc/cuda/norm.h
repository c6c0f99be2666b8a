// The norm of a row, as every kernel has it: y = x / sqrt(mean(x^2) + eps) * weight. The sum of squares is one chain for each of 256 threads, over every
// 256th vector of four, then a tree over each 32 of them, then the eight sums in order: the order hangs on the width alone, not on who computes it.
#pragma once
#include "cuda/reduce.h"
#include "cuda/vectors.h"

namespace m2::cuda {

constexpr int kNormChains = 256;

__device__ __forceinline__ void add_squares(const float4& v, float& sum) { sum = fmaf(v.w, v.w, fmaf(v.z, v.z, fmaf(v.y, v.y, fmaf(v.x, v.x, sum)))); }

__device__ __forceinline__ float inverse_root(float squares, int width, float eps) { return 1 / sqrtf(squares / static_cast<float>(width) + eps); }

__device__ __forceinline__ float4 normed(const float4& v, float inverse, const float4& w) {
  return {v.x * inverse * w.x, v.y * inverse * w.y, v.z * inverse * w.z, v.w * inverse * w.w};
}

// 1 / sqrt(mean(x^2) + eps) of the row'th of kRows rows, by a block of 256 threads, which may each ask for another row.
template <int kRows>
__device__ __forceinline__ float inverse_root(const float4* const (&rows)[kRows], int width, float eps, int row) {
  constexpr int kWarps = kNormChains / kWarp;
  M2_SHARED(float, partial, [kRows][kWarps]);
  float squares[kRows] = {};
#pragma unroll(kRows == 1 ? 3 : 1)
  for (int at = threadIdx.x; at < width / 4; at += kNormChains) {
#pragma unroll
    for (int r = 0; r < kRows; r++) add_squares(rows[r][at], squares[r]);
  }
#pragma unroll
  for (int r = 0; r < kRows; r++) {
    const float sum = warp_sum(squares[r]);
    if (threadIdx.x % kWarp == 0) partial[r][threadIdx.x / kWarp] = sum;
  }
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (int warp = 0; warp < kWarps; warp++) sum += partial[row][warp];
  return inverse_root(sum, width, eps);
}

}  // namespace m2::cuda
