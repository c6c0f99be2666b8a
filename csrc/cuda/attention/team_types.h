// Who computes a row tile: teams of warps.
#pragma once
#include "cuda/attention/work.h"
#include "cuda/ptx/barrier.h"

namespace m2::cuda {

// What a team is at, in shared memory: registers are short.
struct Job {
  Unit unit;
  Part part;
};

// Prompts: eight warps, the first of a block, with 16 rows and all dims each.
template <int D>
struct RowTeam {
  static constexpr int kDim = D, kOwnDims = D, kWarps = TeamShape::kPrefillWarps, kRows = kPrefillRows;
  static constexpr bool kSharesRows = false;

  __device__ __forceinline__ static int index() { return 0; }  // in the block
  __device__ __forceinline__ static int warp() { return threadIdx.x / kWarp; }
  __device__ __forceinline__ static void meet(M2_SITE) { __syncthreads(M2_THIS_SITE); }
  // A lane's rows of the sequence are first and first + 8. Those behind the last are computed as if they were the last, and not written.
  __device__ __forceinline__ static int first_row(const Unit& unit) { return unit.row + 16 * warp() + threadIdx.x % kWarp / 4; }
  __device__ __forceinline__ static int first_dim() { return 0; }
  // The bits that all warps with the same rows have.
  __device__ __forceinline__ static uint64_t all(uint64_t bits) { return bits; }
};

// Decoding: four warps with the same 16 rows. Each brings the scores of a quarter of a tile's tokens and has a quarter of the dims.
template <int D>
struct DimTeam {
  static constexpr int kDim = D, kWarps = TeamShape::kDecodeWarps, kOwnDims = D / kWarps, kRows = kDecodeRows;
  static constexpr bool kSharesRows = true;

  __device__ __forceinline__ static int index() { return threadIdx.x / kWarp / kWarps; }
  __device__ __forceinline__ static int warp() { return threadIdx.x / kWarp % kWarps; }
  __device__ __forceinline__ static void meet(M2_SITE) { ptx::barrier_sync(1 + index(), kWarps * kWarp M2_AND_THIS_SITE); }
  __device__ __forceinline__ static int first_row(const Unit& unit) { return unit.row + threadIdx.x % kWarp / 4; }
  __device__ __forceinline__ static int first_dim() { return warp() * kOwnDims; }
  __device__ __forceinline__ static uint64_t all(uint64_t bits) {
    M2_SHARED(uint64_t, words, [TeamShape::kMostDecodeTeams][kWarps]);
    if (threadIdx.x % kWarp == 0) words[index()][warp()] = bits;
    meet();
#pragma unroll
    for (int w = 0; w < kWarps; w++) bits &= words[index()][w];
    return bits;
  }
};

}  // namespace m2::cuda
