// Tiles of K and V on their way from the paged cache to shared memory. A tile is 32 tokens of one KV head, K [32][D] and V [32][D] in bf16; 16-byte piece c of
// row r lies at piece c ^ (r % 8) of the row, so that ldmatrix, which reads the same piece of eight rows, meets all banks. Rows behind the context are zeros:
// what lies in their memory is nobody's.
//
// A team of kWarps warps copies a tile together, each warp 32 / kWarps rows of it, whole rows of 64 to 256 bytes at a time. Each lane finds the place of one
// token and passes it around: so any page size goes the same way, at one look into the page table per token and team.
//
// A tile of e4m3 comes as it lies in the cache, row behind row, and is widened to one of bf16 when it is there: once for all rows of the team, and what works
// on tiles knows of bf16 alone. Eight elements at a time: reads and writes then meet all banks.
#pragma once
#include "cuda/attention/work.h"
#include "cuda/float8.h"
#include "cuda/ptx/async_copy.h"

namespace m2::cuda {

constexpr int kMostWarps = 8;  // of a block

// A team is kWarps warps: a whole block of them, or one alone.
template <int kWarps>
__device__ __forceinline__ int warp_of_team() {
  return kWarps == 1 ? 0 : threadIdx.x / kWarp;
}
template <int kWarps>
__device__ __forceinline__ void meet(M2_SITE) {
  if constexpr (kWarps == 1) __syncwarp(kFullMask M2_AND_THIS_SITE);
  else __syncthreads(M2_THIS_SITE);
}

constexpr int tile_bytes(int dim, int element_bytes) { return 2 * kTileTokens * dim * element_bytes; }  // K, and V behind it

// T: element type of the cache
template <class T, int D, int kWarps>
class TileReader {
 public:
  static constexpr int kBytes = tile_bytes(D, sizeof(T));

  __device__ __forceinline__ TileReader(const AttentionTask& task, const Unit& unit) : task_(task), unit_(unit) {}

  // Looks up the tile whose tokens begin at `begin`, to be copied next.
  __device__ __forceinline__ void find(int begin) {
    const uint32_t token = begin + found_row(), page_size = static_cast<uint32_t>(task_.kv.page_size), index = token / page_size;
    offset_ = token - index * page_size;
    page_ = static_cast<int>(token) < unit_.context() ? unit_.pages[index] : 0;
  }
  __device__ __forceinline__ void copy(int begin, uint32_t to) const {
    const uint32_t layers = static_cast<uint32_t>(task_.kv.layers), heads = static_cast<uint32_t>(task_.kv.heads), page_size = static_cast<uint32_t>(task_.kv.page_size);
    const uint32_t key_row = ((page_ * layers + task_.layer) * 2 * heads + unit_.kv_head) * page_size + offset_;
    const int lane = threadIdx.x % kWarp, piece = lane % kPieces, context = unit_.context();
#pragma unroll
    for (int i = 0; i < kRows; i += kAtOnce) {
      const int local = i + lane / kPieces, row = first_row() + local;
      uint32_t from = __shfl_sync(kFullMask, key_row, local);
      if (kAtOnce > kRows && local >= kRows) break;  // lanes for more rows than the warp has
#pragma unroll
      for (int which = 0; which < 2; which++, from += heads * page_size) {
        ptx::cp_async_16(to + which * kBytes / 2 + row * kRowBytes + (kIsWide ? piece ^ row % 8 : piece) * 16,
                         static_cast<const uint8_t*>(task_.kv.data) + static_cast<int64_t>(from) * kRowBytes + piece * 16, begin + row < context ? 16 : 0);
      }
    }
  }

 private:
  static constexpr bool kIsWide = sizeof(T) == 2;
  static constexpr int kRows = kTileTokens / kWarps, kRowBytes = D * sizeof(T);  // that a warp copies
  static constexpr int kPieces = kRowBytes / 16, kAtOnce = kWarp / kPieces;      // of a row; rows at once

  __device__ __forceinline__ static int first_row() { return warp_of_team<kWarps>() * kRows; }
  __device__ __forceinline__ static int found_row() { return first_row() + threadIdx.x % kRows; }

  const AttentionTask& task_;
  const Unit& unit_;
  uint32_t page_, offset_;  // of the lane's token
};

// A tile of e4m3 as one of bf16. By the whole team, when the tile is there and nobody is at the one of bf16.
template <int D, int kWarps>
__device__ __forceinline__ void widen_tile(const uint8_t* from, uint8_t* to) {
  constexpr int kPieces = D / 8, kThreads = kWarps * kWarp;
#pragma unroll 4
  for (int i = threadIdx.x % kThreads; i < 2 * kTileTokens * kPieces; i += kThreads) {
    const int row = i / kPieces, piece = i % kPieces;  // rows of K, then of V
    reinterpret_cast<uint4*>(to)[row * kPieces + (piece ^ row % 8)] = f8x8_to_bf16(reinterpret_cast<const uint2*>(from)[i]);
  }
}

// A value that is not finite would reach rows that do not see it, as 0 times it: such pieces of the tile become zeros, and their tokens come back as bits,
// for the rows that do see them. By the whole team, when the tile is there.
template <int D, int kWarps>
__device__ __forceinline__ uint32_t hide_non_finite(uint8_t* values) {
  M2_SHARED(uint32_t, words, [kMostWarps]);
  constexpr int kRows = kTileTokens / kWarps, kPieces = D / 8, kAtOnce = kWarp / kPieces;
  const int warp = warp_of_team<kWarps>(), lane = threadIdx.x % kWarp;
  uint32_t hidden = 0;
#pragma unroll
  for (int i = 0; i < kRows; i += kAtOnce) {
    uint4* piece = reinterpret_cast<uint4*>(values + (warp * kRows + i) * D * 2) + lane;  // its place within the row is all the same
    const uint4 v = *piece;
    bool finite = true;
    for (const uint32_t pair : {v.x, v.y, v.z, v.w}) finite = finite && (pair & 0x7f80) != 0x7f80 && (pair & 0x7f800000) != 0x7f800000;
    if (!finite) *piece = {0, 0, 0, 0};
    const unsigned bad = __ballot_sync(kFullMask, !finite);
#pragma unroll
    for (int row = 0; row < kAtOnce; row++) {
      if (bad >> row * kPieces & ((1u << kPieces) - 1)) hidden |= 1u << (warp * kRows + i + row);
    }
  }
  if (lane == 0) words[threadIdx.x / kWarp] = hidden;
  meet<kWarps>();
  if constexpr (kWarps == 1) return words[threadIdx.x / kWarp];
  hidden = 0;
#pragma unroll
  for (int w = 0; w < kWarps; w++) hidden |= words[w];
  return hidden;
}

}  // namespace m2::cuda
