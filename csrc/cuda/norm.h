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

__device__ __forceinline__ uint2 pack_bf16(const float4& y) { return {pack_bf16(y.x, y.y), pack_bf16(y.z, y.w)}; }

// Norms kRows rows into shared memory, with a block of kThreads: each has several of the chains. What a thread writes it alone has read; all is there behind
// the next barrier. Rows of h [rows][width] that are null are not written.
template <int kThreads, int kRows>
__device__ __forceinline__ void norm_rows(const float4* const (&rows)[kRows], const float4* weight, int width, float eps, float4* to, uint2* const (&h)[kRows]) {
  constexpr int kChains = kNormChains / kThreads, kWarps = kThreads / kWarp;
  M2_SHARED(float, partial, [kRows][kNormChains / kWarp]);
  const int vectors = width / 4;
  float squares[kRows][kChains] = {};
  for (int first = threadIdx.x; first < vectors; first += kNormChains) {
#pragma unroll
    for (int c = 0; c < kChains; c++) {
      const int at = first + c * kThreads;
      if (at >= vectors) break;
#pragma unroll
      for (int r = 0; r < kRows; r++) {
        const float4 v = rows[r][at];
        to[r * vectors + at] = v;
        add_squares(v, squares[r][c]);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; r++) {
#pragma unroll
    for (int c = 0; c < kChains; c++) {
      const float sum = warp_sum(squares[r][c]);
      if (threadIdx.x % kWarp == 0) partial[r][c * kWarps + threadIdx.x / kWarp] = sum;
    }
  }
  __syncthreads();
  float inverses[kRows] = {};
#pragma unroll
  for (int r = 0; r < kRows; r++) {
#pragma unroll
    for (int i = 0; i < kNormChains / kWarp; i++) inverses[r] += partial[r][i];
    inverses[r] = inverse_root(inverses[r], width, eps);
  }
  for (int at = threadIdx.x; at < vectors; at += kThreads) {
    const float4 w = weight[at];
#pragma unroll
    for (int r = 0; r < kRows; r++) {
      const float4 y = normed(to[r * vectors + at], inverses[r], w);
      to[r * vectors + at] = y;
      if (h[r]) h[r][at] = pack_bf16(y);
    }
  }
}

}  // namespace m2::cuda
