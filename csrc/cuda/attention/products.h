// The two products of a tile by mma.sync, on 16 rows. Shared memory gives q again for each tile, 16 bytes a lane for 8 products, and 256 bytes of keys or
// values per product, by ldmatrix without conflicts.
#pragma once
#include "cuda/attention/rows.h"
#include "cuda/ptx/matrix.h"
#include "cuda/ptx/mma.h"

namespace m2::cuda {

__device__ __forceinline__ float (&sums_of(float* sums, int j))[4] { return *reinterpret_cast<float(*)[4]>(sums + 4 * j); }

// Scores of kTokens tokens. q: the lane's A of dims 16 k .. is every 32nd from here on. keys: shared address of the tokens' keys, as reader.h lays them out.
template <int D, int kTokens>
__device__ __forceinline__ void score_tokens(const uint4* q, uint32_t keys, float (&s)[kTokens / 2]) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (float& score : s) score = 0;
  // Matrices of one ldmatrix: 8 tokens, their next 8 dims, the next 8 tokens, their next 8 dims.
  const uint32_t at = keys + (lane % 8 + lane / 16 * 8) * D * 2 + ((lane / 8 % 2) ^ lane % 8) * 16;
#pragma unroll
  for (int k = 0; k < D / 16; k++) {
    const uint4 rows = q[k * kWarp];
    const uint32_t a[4] = {rows.x, rows.y, rows.z, rows.w};
#pragma unroll
    for (int j = 0; j < kTokens / 8; j += 2) {
      uint32_t b[4];
      ptx::ldmatrix_x4(b, (at ^ k * 32) + j * 8 * D * 2);
      const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
      ptx::mma_bf16(sums_of(s, j), a, first);
      ptx::mma_bf16(sums_of(s, j + 1), a, second);
    }
  }
}

// kOwnDims dims of D, from first_dim on, take in a tile's values. values: their shared address.
template <int D, int kOwnDims>
__device__ __forceinline__ void add_values(const Weights& weights, uint32_t values, int first_dim, State<kOwnDims>& state) {
  const int lane = threadIdx.x % kWarp;
  // Matrices of one ldmatrix, transposed: 8 dims of 8 tokens, of the next 8 tokens, then the next 8 dims of both.
  const uint32_t at = values + lane % 16 * D * 2 + (lane / 16 ^ lane % 8 ^ first_dim / 8) * 16;
#pragma unroll
  for (int j = 0; j < kTileTokens / 16; j++) {
#pragma unroll
    for (int n = 0; n < kOwnDims / 8; n += 2) {
      uint32_t b[4];
      ptx::ldmatrix_x4_trans(b, (at ^ n * 16) + j * 16 * D * 2);
      const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
      ptx::mma_bf16(sums_of(state.o, n), weights[j], first);
      ptx::mma_bf16(sums_of(state.o, n + 1), weights[j], second);
    }
  }
}

}  // namespace m2::cuda
