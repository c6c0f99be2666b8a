// What a warp does with its 16 rows and one tile of keys and values: the inner loops of every kernel that must give the same bits.
//
//   scores   s[16][64] = q K^T: mma m16n8k16, rows are A, keys are B, over D in order; products and sums in the tensor core
//   weights  m' = max(m, max(s) scale), p = 2^(s scale - m') with one fused operation, all sums so far times 2^(m - m')
//   values   o += bf16(p) V by mma over tokens in order; l as order.h says
//
// In fragments a lane has rows lane / 4 and lane / 4 + 8 of the 16 (here: halves 0 and 1), and of each 8 columns the two from 2 (lane % 4) on; sums are kept
// as wgmma has them, register r of columns 8 j .. in place 4 j + r. Registers hold s and o; shared memory gives q again for each tile, 16 bytes a lane for 8
// products, and 256 bytes of keys or values per product, by ldmatrix without conflicts.
#pragma once
#include "cuda/attention/order.h"
#include "cuda/ptx/matrix.h"
#include "cuda/ptx/mma.h"
#include "cuda/vectors.h"

namespace m2::cuda {

template <int D>
struct State {
  float o[D / 2], l[2], m[2];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < D / 2; i++) o[i] = 0;
    l[0] = l[1] = 0;
    m[0] = m[1] = -kInfinity;
  }
  // From here on l is the row's, and no longer the lane's.
  __device__ __forceinline__ void complete() {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      l[half] += __shfl_xor_sync(kFullMask, l[half], 1);
      l[half] += __shfl_xor_sync(kFullMask, l[half], 2);
    }
  }
};

using Scores = float[kTileTokens / 2];
using Weights = uint32_t[kTileTokens / 16][4];  // bf16 pairs, as A of the next product

__device__ __forceinline__ float (&sums_of(float* sums, int j))[4] { return *reinterpret_cast<float(*)[4]>(sums + 4 * j); }

// q: the lane's A of dims 16 k .. is every 32nd from here on. keys: shared address of a tile as reader.h lays it out.
template <int D>
__device__ __forceinline__ void score_tile(const uint4* q, uint32_t keys, Scores& s) {
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
    for (int j = 0; j < kTileTokens / 8; j += 2) {
      uint32_t b[4];
      ptx::ldmatrix_x4(b, (at ^ k * 32) + j * 8 * D * 2);
      const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
      ptx::mma_bf16(sums_of(s, j), a, first);
      ptx::mma_bf16(sums_of(s, j + 1), a, second);
    }
  }
}

// Scores of tokens that a row does not see become -inf. last: the last token of the tile that each half sees.
__device__ __forceinline__ void mask_scores(Scores& s, const int (&last)[2]) {
  const int column = threadIdx.x % 4 * 2;
#pragma unroll
  for (int i = 0; i < kTileTokens / 2; i++) {
    if (column + i / 4 * 8 + i % 2 > last[i / 2 % 2]) s[i] = -kInfinity;
  }
}

// Weights of hidden tokens (bit t: token t of the tile) become NaN where a row sees them.
__device__ __forceinline__ void mark_hidden(Weights& weights, const int (&last)[2], uint64_t hidden) {
#pragma unroll
  for (int j = 0; j < kTileTokens / 16; j++) {
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const int token = threadIdx.x % 4 * 2 + 16 * j + i / 4 * 8 + i % 2, half = i / 2 % 2;
      if ((hidden >> token & 1) && token <= last[half]) weights[j][i / 4 * 2 + half] |= 0x7fc0u << i % 2 * 16;
    }
  }
}

// Scores to weights. What `state` holds so far is brought to the new m.
template <int D>
__device__ __forceinline__ void weigh(Scores& s, float scale, State<D>& state, Weights& weights) {
  float keep[2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float top = -kInfinity, sum = 0;
#pragma unroll
    for (int j = 0; j < kTileTokens / 8; j++) top = fmaxf(top, fmaxf(s[4 * j + 2 * half], s[4 * j + 2 * half + 1]));
    top = fmaxf(top, __shfl_xor_sync(kFullMask, top, 1));
    top = fmaxf(top, __shfl_xor_sync(kFullMask, top, 2));
    const float m = fmaxf(state.m[half], top * scale), base = m == -kInfinity ? 0 : m;
    keep[half] = ptx::exp2_approx(state.m[half] - base);
    state.m[half] = m;
#pragma unroll
    for (int j = 0; j < kTileTokens / 8; j++) {
#pragma unroll
      for (int i = 4 * j + 2 * half; i < 4 * j + 2 * half + 2; i++) {
        s[i] = ptx::exp2_approx(fmaf(s[i], scale, -base));
        sum += s[i];
      }
    }
    state.l[half] = fmaf(state.l[half], keep[half], sum);
  }
#pragma unroll
  for (int j = 0; j < kTileTokens / 16; j++) {
#pragma unroll
    for (int r = 0; r < 4; r++) weights[j][r] = pack_bf16(s[8 * j + r / 2 * 4 + r % 2 * 2], s[8 * j + r / 2 * 4 + r % 2 * 2 + 1]);
  }
  if (!__any_sync(kFullMask, keep[0] != 1 || keep[1] != 1)) return;  // times 1 changes nothing
#pragma unroll
  for (int i = 0; i < D / 2; i++) state.o[i] *= keep[i / 2 % 2];
}

template <int D>
__device__ __forceinline__ void add_values(const Weights& weights, uint32_t values, State<D>& state) {
  const int lane = threadIdx.x % kWarp;
  // Matrices of one ldmatrix, transposed: 8 dims of 8 tokens, of the next 8 tokens, then the next 8 dims of both.
  const uint32_t at = values + lane % 16 * D * 2 + (lane / 16 ^ lane % 8) * 16;
#pragma unroll
  for (int j = 0; j < kTileTokens / 16; j++) {
#pragma unroll
    for (int n = 0; n < D / 8; n += 2) {
      uint32_t b[4];
      ptx::ldmatrix_x4_trans(b, (at ^ n * 16) + j * 16 * D * 2);
      const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
      ptx::mma_bf16(sums_of(state.o, n), weights[j], first);
      ptx::mma_bf16(sums_of(state.o, n + 1), weights[j], second);
    }
  }
}

}  // namespace m2::cuda
