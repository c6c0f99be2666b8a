// A warp's 16 rows: their state, and the step of the softmax between the two products of a tile. What every kernel that must give the same bits has in common.
//
//   scores   s[16][64] = q K^T: products of 16 dims each, over D in order, summed in the tensor core
//   weights  m' = max(m, max(s) scale), p = 2^(s scale - m') with one fused operation, all sums so far times 2^(m - m')
//   values   o += bf16(p) V by products of 16 tokens each, in order; l as order.h says
//
// A lane has rows lane / 4 and lane / 4 + 8 of the 16 (here: halves 0 and 1), and of each 8 columns the two from 2 (lane % 4) on: so mma and wgmma hold their
// sums. Registers are in wgmma's order: 4 j .. 4 j + 3 are columns 8 j ..
#pragma once
#include "cuda/attention/join.h"
#include "cuda/attention/order.h"
#include "cuda/float8.h"
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

// Scores of tokens that a row does not see become -inf. last: the last token of the tile that each half sees.
__device__ __forceinline__ void mask_scores(Scores& s, const int (&last)[2]) {
  const int column = threadIdx.x % 4 * 2;
#pragma unroll
  for (int i = 0; i < kTileTokens / 2; i++) {
    if (column + i / 4 * 8 + i % 2 > last[i / 2 % 2]) s[i] = -kInfinity;
  }
}

__device__ __forceinline__ bool are_finite(const uint4& bf16s) {
  bool finite = true;
  for (const uint32_t pair : {bf16s.x, bf16s.y, bf16s.z, bf16s.w}) finite = finite && (pair & 0x7f80) != 0x7f80 && (pair & 0x7f800000) != 0x7f800000;
  return finite;
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

// Weights that are rounded to e4m3 are 2^kRaise of what they are otherwise, and so are l and o: e4m3 has them down to 2^-17 of the largest then.
constexpr float kRaise = 8;

// Scores to weights, 2^raise of them, for m, which may grow, and l. keep: what o is to be multiplied by before it takes them in.
template <int D>
__device__ __forceinline__ void weigh(Scores& s, const float (&scales)[2], float raise, State<D>& state, float (&keep)[2]) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float top = -kInfinity, sum = 0;
#pragma unroll
    for (int j = 0; j < kTileTokens / 8; j++) top = fmaxf(top, fmaxf(s[4 * j + 2 * half], s[4 * j + 2 * half + 1]));
    top = fmaxf(top, __shfl_xor_sync(kFullMask, top, 1));
    top = fmaxf(top, __shfl_xor_sync(kFullMask, top, 2));
    const float scale = scales[half], m = fmaxf(state.m[half], top * scale), base = m == -kInfinity ? 0 : m, raised = base - raise;
    keep[half] = ptx::exp2_approx(state.m[half] - base);
    state.m[half] = m;
#pragma unroll
    for (int j = 0; j < kTileTokens / 8; j++) {
#pragma unroll
      for (int i = 4 * j + 2 * half; i < 4 * j + 2 * half + 2; i++) {
        s[i] = ptx::exp2_approx(fmaf(s[i], scale, -raised));
        sum += s[i];
      }
    }
    state.l[half] = fmaf(state.l[half], keep[half], sum);
  }
}
template <int D>
__device__ __forceinline__ void scale_sums(State<D>& state, const float (&keep)[2]) {
  if (!__any_sync(kFullMask, keep[0] != 1 || keep[1] != 1)) return;  // times 1 changes nothing
#pragma unroll
  for (int i = 0; i < D / 2; i++) state.o[i] *= keep[i / 2 % 2];
}
// Weights to e4m3.
__device__ __forceinline__ void round_weights(Scores& s) {
#pragma unroll
  for (float& weight : s) weight = round_to_f8(weight);
}
__device__ __forceinline__ void pack_weights(const Scores& s, Weights& weights) {
#pragma unroll
  for (int j = 0; j < kTileTokens / 16; j++) {
#pragma unroll
    for (int r = 0; r < 4; r++) weights[j][r] = pack_bf16(s[8 * j + r / 2 * 4 + r % 2 * 2], s[8 * j + r / 2 * 4 + r % 2 * 2 + 1]);
  }
}

}  // namespace m2::cuda
