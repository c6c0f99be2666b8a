// Keys and values on their way from the paged cache to shared memory. A slot takes the keys, or the values, of a tile: 64 tokens of one KV head, [64][D] in
// bf16; 16-byte piece c of row r lies at piece c ^ (r % 8) of the row, so that ldmatrix, which reads the same piece of eight rows, meets all banks. Rows
// behind the context are zeros: what lies in their memory is nobody's.
//
// The warps of a team copy a slot together, each 64 / kWarps rows of it, whole rows of 64 to 256 bytes at a time. Each lane finds the place of one
// token or two and passes it around: so any page size goes the same way, at one look into the page table per token and team.
//
// Slots of operands in e4m3 have wgmma's own order (codes.h). Others of e4m3 come as they lie in the cache, row behind row, and are widened to one of bf16 when
// they are there: once for all rows of the team, and what works on tiles knows of bf16 alone. Eight elements at a time: reads and writes then meet all banks.
#pragma once
#include <type_traits>

#include "cuda/attention/codes.h"
#include "cuda/attention/rows.h"
#include "cuda/attention/team_types.h"
#include "cuda/float8.h"
#include "cuda/ptx/async_copy.h"

namespace m2::cuda {

// The slots of a team's part of a context, in turn: keys of a tile, its values, keys of the next. T: element type of the cache
template <class T, class Team>
class SlotReader {
 public:
  static constexpr int D = Team::kDim, kSlots = TeamShape::slots(sizeof(T), Team::kSharesRows), kBytes = slot_bytes(D, sizeof(T));

  __device__ __forceinline__ SlotReader(const AttentionTask& task, const Unit& unit, int first, int end, uint8_t* slots)
      : task_(task), unit_(unit), end_(end), tile_(first), slots_(slots) {
    find();
#pragma unroll
    for (int i = 0; i < kSlots - 1; i++) copy(i);
  }

  // The next one, when it is there, and nobody is at the one before: the copy that goes there is under way.
  __device__ __forceinline__ uint8_t* next(M2_SITE) {
    ptx::cp_async_wait<kSlots - 2>(M2_THIS_SITE);
    if constexpr (kIsOperand) ptx::fence_proxy_async(M2_THIS_SITE);
    Team::meet(M2_THIS_SITE);
    copy(slot_ == 0 ? kSlots - 1 : slot_ - 1);
    uint8_t* slot = slots_ + slot_ * kBytes;
    slot_ = slot_ == kSlots - 1 ? 0 : slot_ + 1;
    return slot;
  }

 private:
  static constexpr bool kIsWide = sizeof(T) == 2, kIsOperand = std::is_same_v<T, f8_operand>;
  static constexpr int kRows = kTileTokens / Team::kWarps, kRowBytes = D * sizeof(T);  // that a warp copies
  static constexpr int kPieces = kRowBytes / 16, kAtOnce = kWarp / kPieces;            // of a row; rows at once
  static_assert(kRows <= kWarp);

  __device__ __forceinline__ static int first_row() { return Team::warp() * kRows; }

  // Looks up the tile that is to be copied next.
  __device__ __forceinline__ void find() {
    const uint32_t token = tile_ + first_row() + threadIdx.x % kRows, page_size = static_cast<uint32_t>(task_.kv.page_size), index = token / page_size;
    offset_ = token - index * page_size;
    page_ = static_cast<int>(token) < unit_.context() ? unit_.pages[index] : 0;
  }
  __device__ __forceinline__ void copy(int slot) {
    if (tile_ < end_) copy_rows(ptx::shared_address(slots_) + slot * kBytes);
    ptx::cp_async_commit();
    of_values_ = !of_values_;
    if (of_values_) return;
    tile_ += kTileTokens;
    find();
  }
  __device__ __forceinline__ void copy_rows(uint32_t to) const {
    const uint32_t layers = static_cast<uint32_t>(task_.kv.layers), heads = static_cast<uint32_t>(task_.kv.heads), page_size = static_cast<uint32_t>(task_.kv.page_size);
    const int lane = threadIdx.x % kWarp, piece = lane % kPieces, context = unit_.context();
    const uint32_t place = (((page_ * layers + task_.layer) * 2 + of_values_) * heads + unit_.kv_head) * page_size + offset_;
#pragma unroll
    for (int i = 0; i < kRows; i += kAtOnce) {
      const int local = i + lane / kPieces, row = first_row() + local;
      const uint32_t from = __shfl_sync(kFullMask, place, local);
      if (kAtOnce > kRows && local >= kRows) break;  // lanes for more rows than the warp has
      const uint32_t at = kIsOperand ? swizzled<kRowBytes>(row, piece) : row * kRowBytes + (kIsWide ? piece ^ row % 8 : piece) * 16;
      ptx::cp_async_16(to + at,
                       static_cast<const uint8_t*>(task_.kv.data) + static_cast<int64_t>(from) * kRowBytes + piece * 16, tile_ + row < context ? 16 : 0);
    }
  }

  const AttentionTask& task_;
  const Unit& unit_;
  const int end_;
  int tile_;                // the tile that is copied next
  bool of_values_ = false;  // whether its values are
  uint8_t* const slots_;
  int slot_ = 0;            // that is used next
  uint32_t page_, offset_;  // of the lane's token
};

// A slot of e4m3 as one of bf16. By the whole team, when the slot is there and nobody is at the one of bf16.
template <class Team>
__device__ __forceinline__ void widen_slot(const uint8_t* from, uint8_t* to) {
  constexpr int kPieces = Team::kDim / 8, kThreads = Team::kWarps * kWarp;
#pragma unroll 4
  for (int i = threadIdx.x % kThreads; i < kTileTokens * kPieces; i += kThreads) {
    const int row = i / kPieces, piece = i % kPieces;
    reinterpret_cast<uint4*>(to)[row * kPieces + (piece ^ row % 8)] = f8x8_to_bf16(reinterpret_cast<const uint2*>(from)[i]);
  }
}

// A value that is not finite would reach rows that do not see it, as 0 times it: such pieces of a tile become zeros, and their tokens come back as bits, for
// the rows that do see them. By the whole team, when the tile is there.
template <class Team>
__device__ __forceinline__ uint64_t hide_non_finite(uint8_t* values) {
  constexpr int kRows = kTileTokens / Team::kWarps, kPieces = Team::kDim / 8, kAtOnce = kWarp / kPieces;
  const int lane = threadIdx.x % kWarp;
  uint64_t hidden = 0;
#pragma unroll
  for (int i = 0; i < kRows; i += kAtOnce) {
    const int row = Team::warp() * kRows + i;
    uint4* piece = reinterpret_cast<uint4*>(values + row * Team::kDim * 2) + lane;  // its place within the row is all the same
    const bool finite = are_finite(*piece);
    if (!finite) *piece = {0, 0, 0, 0};
    const unsigned bad = __ballot_sync(kFullMask, !finite);
#pragma unroll
    for (int r = 0; r < kAtOnce; r++) {
      if (bad >> r * kPieces & ((1u << kPieces) - 1)) hidden |= uint64_t{1} << (row + r);
    }
  }
  M2_SHARED(uint64_t, words, [TeamShape::kMostWarps]);
  if (lane == 0) words[threadIdx.x / kWarp] = hidden;
  Team::meet();
  hidden = 0;
#pragma unroll
  for (int w = 0; w < Team::kWarps; w++) hidden |= words[Team::index() * Team::kWarps + w];
  return hidden;
}

}  // namespace m2::cuda
