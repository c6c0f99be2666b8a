// What a warp does with its 16 rows and one tile of keys and values: the inner loops of every kernel that must give the same bits.
//
//   scores   s[16][32] = q K^T: mma m16n8k16, rows are A, keys are B, over D in order; products and sums in the tensor core
//   weights  m' = max(m, max(s) scale), p = 2^(s scale - m') with one fused operation, all sums so far times 2^(m - m')
//   values   o += bf16(p) V and l += bf16(p) 1 by mma over tokens in order, so that l weighs exactly what o weighs
//
// In fragments a lane has rows lane / 4 and lane / 4 + 8 of the 16 (here: halves 0 and 1), and of each 8 columns the two from 2 (lane % 4) on. Registers hold
// q, s, o and the span's state; shared memory gives 256 bytes of keys or values per mma, by ldmatrix without conflicts.
#pragma once
#include "cuda/attention/order.h"
#include "cuda/ptx/matrix.h"
#include "cuda/ptx/mma.h"
#include "cuda/vectors.h"

namespace m2::cuda {

template <int D>
struct State {
  float o[D / 8][4], l[2], m[2];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int n = 0; n < D / 8; n++) o[n][0] = o[n][1] = o[n][2] = o[n][3] = 0;
    l[0] = l[1] = 0;
    m[0] = m[1] = -kInfinity;
  }
  __device__ __forceinline__ void take_in(const State& next) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const Join join(m[half], next.m[half]);
      m[half] = join.m;
      l[half] = join(l[half], next.l[half]);
#pragma unroll
      for (int n = 0; n < D / 8; n++) {
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; i++) o[n][i] = join(o[n][i], next.o[n][i]);
      }
    }
  }
};

using Scores = float[kTileTokens / 8][4];
using Weights = uint32_t[kTileTokens / 16][4];  // bf16 pairs, as A of the next product

// keys: shared address of a tile as reader.h lays it out.
template <int D>
__device__ __forceinline__ void score_tile(const uint32_t (&q)[D / 16][4], uint32_t keys, Scores& s) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int n = 0; n < kTileTokens / 8; n++) s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
  // Matrices of one ldmatrix: 8 tokens, their next 8 dims, the next 8 tokens, their next 8 dims.
  const uint32_t at = keys + (lane % 8 + lane / 16 * 8) * D * 2 + ((lane / 8 % 2) ^ lane % 8) * 16;
#pragma unroll
  for (int k = 0; k < D / 16; k++) {
#pragma unroll
    for (int n = 0; n < kTileTokens / 8; n += 2) {
      uint32_t b[4];
      ptx::ldmatrix_x4(b, (at ^ k * 32) + n * 8 * D * 2);
      const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
      ptx::mma_bf16(s[n], q[k], first);
      ptx::mma_bf16(s[n + 1], q[k], second);
    }
  }
}

// Scores of tokens that a row does not see become -inf, of hidden ones (bit t: token t of the tile) NaN. last: the last token of the tile that each half sees.
__device__ __forceinline__ void mask_scores(Scores& s, const int (&last)[2], uint32_t hidden) {
  const int column = threadIdx.x % 4 * 2;
  hidden >>= column;
#pragma unroll
  for (int n = 0; n < kTileTokens / 8; n++) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int token = 8 * n + i % 2;
      if (hidden >> token & 1) s[n][i] = kNaN;
      if (column + token > last[i / 2]) s[n][i] = -kInfinity;
    }
  }
}

// Scores to weights. What `state` and `sums` hold so far is brought to the new m; sums are l as an accumulator, equal in all columns.
template <int D>
__device__ __forceinline__ void weigh(Scores& s, float scale, State<D>& state, float (&sums)[4], Weights& weights) {
  float keep[2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float top = -kInfinity;
#pragma unroll
    for (int n = 0; n < kTileTokens / 8; n++) top = fmaxf(top, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
    top = fmaxf(top, __shfl_xor_sync(kFullMask, top, 1));
    top = fmaxf(top, __shfl_xor_sync(kFullMask, top, 2));
    const float m = fmaxf(state.m[half], top * scale), base = m == -kInfinity ? 0 : m;
    keep[half] = ptx::exp2_approx(state.m[half] - base);
    state.m[half] = m;
#pragma unroll
    for (int n = 0; n < kTileTokens / 8; n++) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; i++) s[n][i] = ptx::exp2_approx(fmaf(s[n][i], scale, -base));
    }
  }
#pragma unroll
  for (int j = 0; j < kTileTokens / 16; j++) {
#pragma unroll
    for (int r = 0; r < 4; r++) weights[j][r] = pack_bf16(s[2 * j + r / 2][r % 2 * 2], s[2 * j + r / 2][r % 2 * 2 + 1]);
  }
  if (!__any_sync(kFullMask, keep[0] != 1 || keep[1] != 1)) return;  // times 1 changes nothing
#pragma unroll
  for (int i = 0; i < 4; i++) {
    sums[i] *= keep[i / 2];
#pragma unroll
    for (int n = 0; n < D / 8; n++) state.o[n][i] *= keep[i / 2];
  }
}

template <int D>
__device__ __forceinline__ void add_values(const Weights& weights, uint32_t values, State<D>& state, float (&sums)[4]) {
  constexpr uint32_t kOnes[2] = {0x3f803f80, 0x3f803f80};
  const int lane = threadIdx.x % kWarp;
  // Matrices of one ldmatrix, transposed: 8 dims of 8 tokens, of the next 8 tokens, then the next 8 dims of both.
  const uint32_t at = values + lane % 16 * D * 2 + (lane / 16 ^ lane % 8) * 16;
#pragma unroll
  for (int j = 0; j < kTileTokens / 16; j++) {
    ptx::mma_bf16(sums, weights[j], kOnes);
#pragma unroll
    for (int n = 0; n < D / 8; n += 2) {
      uint32_t b[4];
      ptx::ldmatrix_x4_trans(b, (at ^ n * 16) + j * 16 * D * 2);
      const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
      ptx::mma_bf16(state.o[n], weights[j], first);
      ptx::mma_bf16(state.o[n + 1], weights[j], second);
    }
  }
}

}  // namespace m2::cuda
