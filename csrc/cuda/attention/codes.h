// Attention's products in e4m3, on Hopper: a cache's keys and values as they lie there, beside q and weights that are rounded to e4m3.
//
//   q        a head of a row as core/fp8_rows.h has it: its scale goes into the scores'
//   weights  of at most 2^kRaise; a tile's, unlike those in bf16, meet its values in sums of their own, which begin at zero and are then added to o in float32.
//            Hopper's sums of e4m3 are cut off at 13 bits behind the largest (MMA-Sim, arXiv 2511.10909): so no sum in the matrix unit is longer than a tile
//
// Both kernels multiply by wgmma, decoding too: what mma.sync makes of e4m3 there are other sums.
//
// wgmma takes operand B in e4m3 along K alone, which is tokens for values: a tile of them is turned around in shared memory. ldmatrix turns pairs of dims; two
// of its registers then give one of four tokens each for an even dim and for the odd one behind it, which stmatrix writes back. Of 16 tokens the order becomes
// 0 1 8 9, 2 3 10 11, ..: that in which four lanes hold scores, so weights need no exchange of lanes, and a sum does not mind.
#pragma once
#include "cuda/attention/rows.h"
#include "cuda/attention/states.h"
#include "cuda/ptx/convert.h"
#include "cuda/ptx/matrix.h"
#include "cuda/ptx/mbarrier.h"
#include "cuda/ptx/wgmma.h"

namespace m2::cuda {

// The element type of a cache in e4m3 whose elements are multiplied as they are.
struct f8_operand {
  uint8_t bits;
};

using Codes = uint32_t[kTileTokens / 32][4];  // weights as A of the next product

// Where a piece of 16 bytes of a row lies, in rows of 64 or 128 bytes with wgmma's swizzle of that width.
template <int kPitch>
__device__ __forceinline__ uint32_t swizzled(int row, int piece) {
  return row * kPitch + ((piece ^ row * kPitch / 128) % (kPitch / 16)) * 16;
}
template <int kPitch>
__device__ __forceinline__ uint64_t codes_descriptor(uint32_t rows) {
  return ptx::matrix_descriptor(rows, 16, 8 * kPitch, kPitch == 128 ? ptx::Swizzle::k128 : ptx::Swizzle::k64);
}

// A lane's A of the rows of q, and what products with them are multiplied by.
template <class Team>
__device__ __forceinline__ void load_codes(const AttentionTask& task, const Unit& unit, uint32_t (&codes)[Team::kDim / 32][4], float (&scales)[2]) {
  const int t = threadIdx.x % 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const uint32_t* from = row_of_q<Team>(task, unit, half);
    const float scale = head_scale<Team::kDim>(from), inverse = __uint_as_float(inverse_scale_bits(__float_as_uint(scale)));
    scales[half] = scale == scale ? bounded_scale(score_scale(task, unit.kv_head) * scale) : kNaN;
#pragma unroll
    for (int i = 0; i < Team::kDim / 16; i++) {
      const uint2 four = *reinterpret_cast<const uint2*>(from + 8 * i + 2 * t);
      const float2 low = unpack_bf16(four.x ^ task.flip_sign), high = unpack_bf16(four.y ^ task.flip_sign);
      codes[i / 2][i % 2 * 2 + half] = ptx::cvt_e4m3x2_f32(low.x * inverse, low.y * inverse) | static_cast<uint32_t>(ptx::cvt_e4m3x2_f32(high.x * inverse, high.y * inverse)) << 16;
    }
  }
}

__device__ __forceinline__ void pack_weights(const Scores& s, Codes& weights) {
#pragma unroll
  for (int i = 0; i < 2 * (kTileTokens / 32); i++) {  // 16 tokens
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const float* at = s + 8 * i + 2 * half;
      weights[i / 2][i % 2 * 2 + half] = ptx::cvt_e4m3x2_f32(at[0], at[1]) | static_cast<uint32_t>(ptx::cvt_e4m3x2_f32(at[4], at[5])) << 16;
    }
  }
}
__device__ __forceinline__ void mark_hidden(Codes& weights, const int (&last)[2], uint64_t hidden) {
#pragma unroll
  for (int i = 0; i < 2 * (kTileTokens / 32); i++) {
#pragma unroll
    for (int byte = 0; byte < 4; byte++) {
      const int token = threadIdx.x % 4 * 2 + 16 * i + byte / 2 * 8 + byte % 2;
#pragma unroll
      for (int half = 0; half < 2; half++) {
        if ((hidden >> token & 1) && token <= last[half]) weights[i / 2][i % 2 * 2 + half] |= 0x7fu << byte * 8;
      }
    }
  }
}

// s = q K^T, under way. keys: [64][D] bytes, swizzled
template <int kSteps>
__device__ __forceinline__ void issue_scores(uint32_t keys, const uint32_t (&q)[kSteps][4], Scores& s) {
#pragma unroll
  for (int k = 0; k < kSteps; k++) ptx::wgmma_e4m3(s, q[k], codes_descriptor<kSteps * 32>(keys) + k * 2, k > 0);
  ptx::wgmma_commit();
}
// sums = weights V, under way. values: [D][64] bytes, turned and swizzled
template <int kSums>
__device__ __forceinline__ void issue_values(uint32_t values, const Codes& weights, float (&sums)[kSums]) {
#pragma unroll
  for (int k = 0; k < kTileTokens / 32; k++) ptx::wgmma_e4m3(sums, weights[k], codes_descriptor<kTileTokens>(values) + k * 2, k > 0);
  ptx::wgmma_commit();
}

template <int D>
__device__ __forceinline__ void add_sums(State<D>& state, const float (&sums)[D / 2]) {
#pragma unroll
  for (int i = 0; i < D / 2; i++) state.o[i] += sums[i];
}

// Makes zeros of what is not finite in a square of 32 tokens and 16 dims, as ldmatrix has turned it. The tokens of the lane's, as bits.
__device__ __forceinline__ uint32_t hide_nan(uint32_t (&square)[4]) {
  uint32_t hidden = 0;
#pragma unroll
  for (int i = 0; i < 4; i++) {  // a token in the lower half, the next one in the upper
    const uint32_t nan = ((square[i] & 0x7f7f7f7f) + 0x01010101) & 0x80808080;
    square[i] &= ~((nan >> 7) * 0xff);
    hidden |= (((nan & 0x8080) != 0) + ((nan & 0x80800000) != 0) * 2u) << 8 * i;
  }
  return hidden << threadIdx.x % 4 * 2;
}

// Turns a tile of values around, by four warps; when they meet, the matrix unit may read. hides: whether some rows do not see all of it. Then what is not finite
// becomes 0, and words[warp] has its tokens, as bits.
template <int D>
__device__ __forceinline__ void turn_values(uint32_t from, uint32_t to, int warp, bool hides, uint64_t* words) {
  constexpr int kOwn = D / 32;  // squares of 32 tokens and 16 dims: pairs with the same dims
  const int lane = threadIdx.x % kWarp;
  // A matrix of stmatrix has four even dims and, of the lower lanes' next ones, four odd: so its eight rows meet all banks.
  const bool is_lower = lane < kWarp / 2;
  const uint32_t first_dims = is_lower ? 0x6420 : 0x7531, other_dims = is_lower ? 0x7531 : 0x6420;
  const int dim = warp * kOwn * 8 + lane % 8 * 2 + (lane / 8 % 2 ^ lane % 8 / 4);
  from += swizzled<D>(lane, warp * kOwn / 2);
  to += swizzled<kTileTokens>(dim, lane / 16);
  uint32_t hidden[2] = {};
#pragma unroll
  for (int i = 0; i < kOwn; i++) {
    uint32_t square[4];
    ptx::ldmatrix_x4_trans(square, (from ^ i / 2 * 16) + i % 2 * 32 * D);
    if (hides) hidden[i % 2] |= hide_nan(square);
    const uint32_t turned[4] = {__byte_perm(square[0], square[1], first_dims), __byte_perm(square[0], square[1], other_dims),
                                __byte_perm(square[2], square[3], first_dims), __byte_perm(square[2], square[3], other_dims)};
    ptx::stmatrix_x4((to ^ i % 2 * 32) + i / 2 * 16 * kTileTokens, turned);
  }
  if (hides) {
    const uint64_t all = __reduce_or_sync(kFullMask, hidden[0]) | static_cast<uint64_t>(__reduce_or_sync(kFullMask, hidden[1])) << 32;
    if (lane == 0) words[warp] = all;
  }
  ptx::fence_proxy_async();
}

}  // namespace m2::cuda
