// What fills the rings of gemm_wgmma. Weights and their records: one bulk copy for each panel's stage, counted in bytes; all of a panel is contiguous. Rows
// of x: boxes of 16 by a tensor map, where they lie one behind the other; rows behind the tile's own are somebody else's, whose columns nobody writes,
// and k behind the edge is zero. Rows that `source` names, and rows of e4m3 with
// their scales, are gathered by all four warps, 16 bytes each thread, and told of a stage later, so that a
// stage's copies are under way while the next one's are asked for.
#pragma once
#include "cuda/gemm/fp8_rows.h"
#include "cuda/gemm/tiles.h"
#include "cuda/gemm/wgmma_rings.h"
#include "cuda/ptx/async_copy.h"
#include "cuda/ptx/bulk.h"
#include "cuda/ptx/launch.h"
#include "cuda/ptx/tensor.h"

namespace m2::cuda {

template <int kShape, class Codec>
class WgmmaProducer {
  using Rings = WgmmaRings<kShape, Codec>;
  static constexpr int kThreads = 4 * kWarp, kChunks = Rings::kRowBytes / 16;  // of 16 bytes, which are a copy each
  static constexpr int kRowStep = kThreads / kChunks, kCopies = (Rings::kFp8Rows ? kMostFp8TileRows : kMostTileRows) / kRowStep;

 public:
  __device__ __forceinline__ WgmmaProducer(const GemmTask& task, const CUtensorMap* map, const Rings& rings)
      : task_(task), map_(map), rings_(rings), stages_(static_cast<int>(stages_of(task.k)) / Rings::kStages) {}

  // By one warp. The weights of a dense product hang on no kernel before this one, so the first of them are asked for before that has ended.
  __device__ __forceinline__ void stream() {
    const bool dense = !task_.offsets;
    ptx::prefetch_tensor_map(map_);
    if (!dense) ptx::wait_for_previous_kernel();
    Tiles tiles(task_, Rings::kPanels, rings_.tile_rows, WgmmaShape::kRowUnit);
    bool more = tiles.next();
    int early = dense && more ? min(stages_, rings_.stages) : 0;
    for (int stage = 0; stage < early; stage++) bring_weights(tiles, stage, stage, rows_bytes(tiles));
    if (dense) ptx::wait_for_previous_kernel();
    Turn turn;
    for (; more; more = tiles.next()) {
      for (int stage = 0; stage < stages_; stage++) {
        if (early > 0) {
          early--;
        } else {
          ptx::mbarrier_wait(rings_.empty(turn.slot), turn.parity ^ 1);
          bring_weights(tiles, stage, turn.slot, rows_bytes(tiles));
        }
        const int lane = threadIdx.x % kWarp, row = lane * WgmmaShape::kRowUnit;
        if (tiles.first_row + row < tiles.end_row) {
          ptx::tensor_load(rings_.address + rings_.rows(turn.slot) + row * Rings::kRowBytes, map_, rings_.full(turn.slot), stage * kStage, tiles.first_row + row);
        }
        turn.next(rings_.stages);
      }
    }
  }

  // By all four warps.
  __device__ __forceinline__ void gather() {
    ptx::wait_for_previous_kernel();
    Tiles tiles(task_, Rings::kPanels, rings_.tile_rows, WgmmaShape::kRowUnit);
    Turn turn;
    int untold = -1;  // the slot whose rows are under way
    while (tiles.next()) {
      int32_t tokens[kCopies];
#pragma unroll
      for (int i = 0; i < kCopies; i++) {
        tokens[i] = token_of(tiles, threadIdx.x / kChunks % kRowStep + i * kRowStep);
      }
      const int scaled = Rings::kFp8Rows ? token_of(tiles, threadIdx.x % kThreads) : -1;  // whose scale this thread brings
      for (int stage = 0; stage < stages_; stage++) {
        ptx::mbarrier_wait(rings_.empty(turn.slot), turn.parity ^ 1);
        if (threadIdx.x / kWarp % 4 == 0) bring_weights(tiles, stage, turn.slot, 0);
        copy_rows(tokens, stage, turn.slot);
        if (scaled >= 0) ptx::cp_async_4(rings_.address + rings_.scales(turn.slot) + threadIdx.x % kThreads * 4, task_.row_scales + scaled * stages_ + stage);
        ptx::cp_async_commit();
        if (untold >= 0) tell<1>(untold);
        untold = turn.slot;
        turn.next(rings_.stages);
      }
    }
    if (untold >= 0) tell<0>(untold);
  }

 private:
  __device__ __forceinline__ static int rows_bytes(const Tiles& tiles) {
    return (tiles.end_row - tiles.first_row + WgmmaShape::kRowUnit - 1) / WgmmaShape::kRowUnit * WgmmaShape::kRowUnit * Rings::kRowBytes;
  }

  // The token of a row of the tile, -1 behind the last.
  __device__ __forceinline__ int token_of(const Tiles& tiles, int in_tile) const {
    const int row = tiles.first_row + in_tile;
    return row >= tiles.end_row ? -1 : task_.source ? task_.source[row] / task_.slots : row;
  }

  // A lane for each panel's weights, another for its records. Panels behind the last are left as they are: nobody writes their outputs.
  __device__ __forceinline__ void bring_weights(const Tiles& tiles, int stage, int slot, int more_bytes) {
    const int lane = threadIdx.x % kWarp, in_tile = lane % (kWarp / 2), count = min(Rings::kPanels, task_.panels - tiles.first_panel), shift = record_shift(task_.type);
    const int record_bytes = Rings::kRecordBytes * max(Rings::kStages * kStage >> shift, 1);
    if (lane == 0) ptx::mbarrier_arrive_expect_bytes(rings_.full(slot), count * (Rings::kPanelBytes + record_bytes) + more_bytes);
    __syncwarp();
    if (in_tile >= count) return;
    if (lane == in_tile) {
      const uint4* weights = panel_of<Codec>(task_, tiles.group, tiles.first_panel + in_tile) + static_cast<int64_t>(stage) * (Rings::kPanelBytes / 16);
      ptx::bulk_load(rings_.address + rings_.weights(slot, in_tile), weights, Rings::kPanelBytes, rings_.full(slot));
    } else if (Codec::kRecordVectors > 0) {
      const uint4* records = records_of<Codec>(task_, tiles.group, tiles.first_panel + in_tile) + (stage * Rings::kStages * kStage >> shift) * Codec::kRecordVectors;
      ptx::bulk_load(rings_.address + rings_.records(slot, in_tile), records, record_bytes, rings_.full(slot));
    }
  }

  __device__ __forceinline__ void copy_rows(const int32_t (&tokens)[kCopies], int stage, int slot) {
    const uint8_t* const x = Rings::kFp8Rows ? task_.codes : reinterpret_cast<const uint8_t*>(task_.x);
    const int64_t row_bytes = static_cast<int64_t>(task_.k) * (Rings::kFp8Rows ? 1 : 2);
    const int chunk = threadIdx.x % kChunks, first = threadIdx.x / kChunks % kRowStep, at = stage * Rings::kRowBytes + chunk * 16;
    const uint32_t to = rings_.address + rings_.rows(slot) + first * Rings::kRowBytes + (chunk ^ first % 8) * 16;
#pragma unroll
    for (int i = 0; i < kCopies; i++) {
      if (tokens[i] < 0) break;
      ptx::cp_async_16(to + i * kRowStep * Rings::kRowBytes, at < row_bytes ? x + tokens[i] * row_bytes + at : x, at < row_bytes ? 16 : 0);
    }
  }

  // This thread's copies of the slot have come, all but those of kLater stages behind it: wgmma may read them.
  template <int kLater>
  __device__ __forceinline__ void tell(int slot) {
    ptx::cp_async_wait<kLater>();
    ptx::fence_proxy_async();
    ptx::mbarrier_arrive(rings_.full(slot));
  }

  const GemmTask& task_;
  const CUtensorMap* map_;
  const Rings& rings_;
  int stages_;
};

}  // namespace m2::cuda
