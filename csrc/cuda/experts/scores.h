// Products of float32 numbers on the bf16 matrix units. A number from 2^-110 on is the sum of three bf16, exactly: its own rounding, that of what is left, and the
// rest. Of the nine products of two such numbers the six largest are added up; the three that are left out come to some 2^-24 of the whole at most, the rounding
// of one float32. An infinity, and what rounds to one in bf16, leaves a NaN.
//
// Sums: 32 k are a chain of twelve mma from zero, the smallest products first. 24 chains, added in order from zero, are a segment, and a logit is the sum of the
// segments in order. Every kernel keeps to that, so the bits of a token do not hang on which one computes it.
//
// Experts are the operand A of mma.m16n8k16 and tokens its operand B. Of 16 k the lane t of four has 4t .. 4t+3, 16 bytes of a row: the matrix unit's k 2t, 2t+1,
// 2t+8 and 2t+9.
#pragma once
#include "cuda/ptx/mma.h"
#include "cuda/vectors.h"

namespace m2::cuda {

constexpr int kPanel = 16, kTile = 8;   // experts and tokens of one mma
constexpr int kStep = 16, kChain = 32;  // k of one mma, of a chain
constexpr int kChainSteps = kChain / kStep;
constexpr int kSegmentChains = 24;
constexpr int kParts = 3;

// Four numbers, two in each word of a part.
__device__ __forceinline__ void split(float4 v, uint2 (&parts)[kParts]) {
#pragma unroll
  for (int p = 0; p < kParts; p++) {
    parts[p] = pack_bf16(v);
    const float2 low = unpack_bf16(parts[p].x), high = unpack_bf16(parts[p].y);
    v = {v.x - low.x, v.y - low.y, v.z - high.x, v.w - high.y};
  }
}

// The operands of a lane for a chain: 16 experts, of which it has g and g + 8, and 8 tokens.
struct ExpertParts {
  uint32_t of[kParts][kChainSteps][4];

  __device__ __forceinline__ void set(const float4 (&rows)[kChainSteps][2]) {
#pragma unroll
    for (int step = 0; step < kChainSteps; step++) {
#pragma unroll
      for (int row = 0; row < 2; row++) {
        uint2 parts[kParts];
        split(rows[step][row], parts);
#pragma unroll
        for (int p = 0; p < kParts; p++) {
          of[p][step][row] = parts[p].x;
          of[p][step][row + 2] = parts[p].y;
        }
      }
    }
  }
};

struct TokenParts {
  uint32_t of[kParts][kChainSteps][2];

  // From where store_parts has put the first part of the lane's token.
  __device__ __forceinline__ void load(const uint4* from, int stride) {
#pragma unroll
    for (int p = 0; p < kParts; p++) {
      const uint4 words = from[p * stride + threadIdx.x % 4];
      of[p][0][0] = words.x;
      of[p][0][1] = words.y;
      of[p][1][0] = words.z;
      of[p][1][1] = words.w;
    }
  }
};

// The quad-th four k of a token's chain, for the lane that has them: [4 lanes][steps][4] bf16 from `to` on, and the same of the next part `stride` further.
__device__ __forceinline__ void store_parts(const float4& v, uint4* to, int stride, int quad) {
  uint2 parts[kParts];
  split(v, parts);
#pragma unroll
  for (int p = 0; p < kParts; p++) reinterpret_cast<uint2*>(to + p * stride + quad % 4)[quad / 4] = parts[p];
}

// The products of a chain in order, as multiply(part of the expert, part of the token, step). Chains that do not wait for each other take turns in it.
template <class Multiply>
__device__ __forceinline__ void multiply_parts(Multiply multiply) {
  constexpr int kExpert[] = {2, 0, 1, 1, 0, 0}, kToken[] = {0, 2, 1, 0, 1, 0};
#pragma unroll
  for (int i = 0; i < 6; i++) {
#pragma unroll
    for (int step = 0; step < kChainSteps; step++) multiply(kExpert[i], kToken[i], step);
  }
}

}  // namespace m2::cuda
