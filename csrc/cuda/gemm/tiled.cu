// Products of many rows where there is no wgmma (wgmma.cu): tiles of 128 outputs times 32, 64 or 128 rows, for dense and grouped products alike.
//
// A persistent block goes through its tiles (gemm/tiles.h) as through one stream of stages of 64 k: three or four stages of weights and rows of x are in
// shared memory or on their way (cp.async), across the border of tiles, so no tile waits for its first stage. Weights lie in shared memory in the order
// of the registers, as in memory: 16 bytes for each lane, no conflicts. Rows of x are 128 bytes with their 16-byte chunks at chunk ^ (row % 8), as ldmatrix
// reads them without conflicts. Rows are gathered through `source` as they are copied.
// A warp has 32 or 64 outputs of 32 rows: sums of the segment and of all segments before it, both in registers.
//
// FP8 and int4 stay as they are in shared memory and become bf16 as a warp fetches them.
//
// Must move: weights, x and out once. Does move out of L2: a tile's weights and rows once for each tile; per stage 16 KiB of bf16 (8 of FP8, 4.5 of int4) +
// 128 bytes for each row of a tile, for 128 x 64 multiply-adds each row. Tiles at work at once share them, so memory sees little more than once.
#include "cuda/gemm/epilogue.h"
#include "cuda/gemm/fragment.h"
#include "cuda/gemm/kernels.h"
#include "cuda/gemm/tiles.h"
#include "cuda/launch.h"
#include "cuda/ptx/async_copy.h"
#include "cuda/ptx/matrix.h"

namespace m2::cuda {
namespace {

constexpr int kRowBytes = kStage * 2;  // of x in a stage
constexpr int kChunk = 8;              // bf16 of a 16-byte copy

// A stage in shared memory: the weights of all panels, what they need of records, rows of x.
template <class Codec>
struct StageLayout {
  static constexpr int kPanelVectors = Codec::kVectors * kWarp, kPanelRecords = Codec::kStageRecords * Codec::kRecordVectors;  // vectors of 16 bytes
  static constexpr int kRecords = TileShape::kPanels * kPanelVectors * 16, kRows = TileShape::kPanels * kPanelStageBytes<Codec>;  // where they begin
};

// Brings one stage after another into shared memory, from tile to tile.
template <int kTile, class Codec>
class Loader {
  using Layout = StageLayout<Codec>;
  static constexpr TileShape kShape = kTileShapes[kTile];
  static constexpr int kThreads = kShape.threads(), kChunks = kStage / kChunk, kStageVectors = Layout::kPanelVectors;
  static constexpr int kWeightCopies = TileShape::kPanels * kStageVectors / kThreads, kRowCopies = kShape.rows * kChunks / kThreads, kRowStep = kThreads / kChunks;
  static_assert(kThreads % kStageVectors == 0 && kRowStep % 8 == 0 && TileShape::kPanels * Layout::kPanelRecords <= kThreads);

 public:
  static constexpr int kParts = kStageSteps;

  __device__ __forceinline__ explicit Loader(const GemmTask& task) : task_(task), tiles_(task, TileShape::kPanels, kShape.rows, TileShape::kWarpRows), stages_(static_cast<int>(stages_of(task.k))) { enter(); }

  // A part of the stage, so that copies are asked for between multiplications and not in their place.
  __device__ __forceinline__ void load(uint32_t shared, int part) {
    if (!more_) return;
    const int chunk = threadIdx.x % kChunks, k = stage_ * kStage + chunk * kChunk;
#pragma unroll
    for (int i = part; i < kWeightCopies; i += kParts) {
      const int panel = threadIdx.x / kStageVectors + i * (kThreads / kStageVectors);
      ptx::cp_async_16(shared + (threadIdx.x + i * kThreads) * 16, weights_ + min(panel, last_panel_) * panel_vectors<Codec>(task_.k) + stage_ * kStageVectors);
    }
    if (part == 0) load_records(shared + Layout::kRecords + threadIdx.x * 16);
#pragma unroll
    for (int i = part; i < kRowCopies; i += kParts) {
      const int row = threadIdx.x / kChunks + i * kRowStep;
      const bool there = rows_[i] && k < task_.k;
      ptx::cp_async_16(shared + Layout::kRows + row * kRowBytes + (chunk ^ row % 8) * 16, there ? rows_[i] + k : task_.x, there ? 16 : 0);
    }
  }

  // All parts of the stage are asked for: to the next.
  __device__ __forceinline__ void commit() {
    ptx::cp_async_commit();
    if (more_ && ++stage_ == stages_) enter();
  }

 private:
  // Each thread brings at most one vector of them.
  __device__ __forceinline__ void load_records(uint32_t shared) {
    if constexpr (Layout::kPanelRecords > 0) {
      if (threadIdx.x >= TileShape::kPanels * Layout::kPanelRecords) return;
      const int shift = record_shift(task_.type), panel = threadIdx.x / Layout::kPanelRecords, vector = threadIdx.x % Layout::kPanelRecords;
      const int k = stage_ * kStage + vector / Codec::kRecordVectors * (kStage / 2);
      ptx::cp_async_16(shared, records_ + min(panel, last_panel_) * panel_record_vectors<Codec>(task_.k, shift) + (k >> shift) * Codec::kRecordVectors + vector % Codec::kRecordVectors);
    }
  }

  __device__ __forceinline__ void enter() {
    more_ = tiles_.next();
    if (!more_) return;
    stage_ = 0;
    weights_ = panel_of<Codec>(task_, tiles_.group, tiles_.first_panel) + threadIdx.x % kStageVectors;
    records_ = records_of<Codec>(task_, tiles_.group, tiles_.first_panel);
    last_panel_ = task_.panels - 1 - tiles_.first_panel;
#pragma unroll
    for (int i = 0; i < kRowCopies; i++) {
      const int row = tiles_.first_row + threadIdx.x / kChunks + i * kRowStep;
      rows_[i] = row < tiles_.end_row ? row_of_x(task_, row) : nullptr;
    }
  }

  const GemmTask& task_;
  Tiles tiles_;
  int stages_, stage_ = 0;
  bool more_ = false;
  const uint4 *weights_ = nullptr, *records_ = nullptr;  // of the tile's first panel
  int last_panel_ = 0;              // of the group, counted from there; the tile's panels behind it are copies of it, for nobody
  const __nv_bfloat16* rows_[kRowCopies];  // null: behind the group's last row, zeros
};

// A warp's part of a tile.
template <int kTile, class Codec>
struct WarpTile {
  using Layout = StageLayout<Codec>;
  static constexpr TileShape kShape = kTileShapes[kTile];
  static constexpr int kPanels = kShape.warp_panels, kRowTiles = TileShape::kWarpRows / 8;
  int panel, row;  // the first of the warp, in the block's tile
  float sums[kPanels][kRowTiles][4], total[kPanels][kRowTiles][4];
  // This lane's vectors of the steps at hand. A vector becomes bf16 right before it is multiplied, so few of those are alive at a time.
  static constexpr int kBuffers = Codec::kVectors > 1 ? 2 : 1;
  uint4 stored[kBuffers][kPanels];
  typename Codec::Scales scales[kPanels];
  uint32_t tokens[2][kRowTiles / 2][4];  // of two steps: two tiles of 8 rows, 16 k each

  // Neighbouring warps, which run on different schedulers, share rows: where a tile is not full, all schedulers still have work.
  __device__ __forceinline__ WarpTile()
      : panel(threadIdx.x / kWarp % kShape.warps_down() * kPanels), row(threadIdx.x / kWarp / kShape.warps_down() * TileShape::kWarpRows) {}

  __device__ __forceinline__ static void clear(float (&values)[kPanels][kRowTiles][4]) {
#pragma unroll
    for (int p = 0; p < kPanels; p++) {
#pragma unroll
      for (int j = 0; j < kRowTiles; j++) values[p][j][0] = values[p][j][1] = values[p][j][2] = values[p][j][3] = 0;
    }
  }

  __device__ __forceinline__ void fetch(const uint8_t* stage, uint32_t shared, int step) {
    const int lane = threadIdx.x % kWarp, token = row + lane % 8 + lane / 16 * 8;  // whose 16 bytes this lane names for ldmatrix
    const uint4* weights = reinterpret_cast<const uint4*>(stage) + panel * Layout::kPanelVectors + lane;
    const uint4* records = reinterpret_cast<const uint4*>(stage + Layout::kRecords) + panel * Layout::kPanelRecords;
    const uint32_t rows = shared + Layout::kRows + token * kRowBytes;
#pragma unroll
    for (int p = 0; p < kPanels; p++) {
      if (step == 0) scales[p] = Codec::scales(records + p * Layout::kPanelRecords, records + p * Layout::kPanelRecords + (Codec::kStageRecords - 1) * Codec::kRecordVectors);
      if (step % Codec::kVectorSteps == 0) stored[step / Codec::kVectorSteps % kBuffers][p] = weights[p * Layout::kPanelVectors + step / Codec::kVectorSteps * kWarp];
    }
#pragma unroll
    for (int j = 0; j < kRowTiles / 2; j++) ptx::ldmatrix_x4(tokens[step % 2][j], rows + j * 16 * kRowBytes + ((2 * step + lane / 8 % 2) ^ token % 8) * 16);
  }

  __device__ __forceinline__ void multiply(int step) {
#pragma unroll
    for (int p = 0; p < kPanels; p++) {
      const uint4 weights = Codec::fragment(stored[step / Codec::kVectorSteps % kBuffers][p], scales[p], step);
#pragma unroll
      for (int j = 0; j < kRowTiles; j++) multiply_step(sums[p][j], weights, tokens[step % 2][j / 2][j % 2 * 2], tokens[step % 2][j / 2][j % 2 * 2 + 1]);
    }
  }

  __device__ __forceinline__ void end_segment() {
#pragma unroll
    for (int p = 0; p < kPanels; p++) {
#pragma unroll
      for (int j = 0; j < kRowTiles; j++) {
#pragma unroll
        for (int r = 0; r < 4; r++) total[p][j][r] += sums[p][j][r];
      }
    }
    clear(sums);
  }
};

template <int kTile, class Codec>
__global__ void __launch_bounds__(kTileShapes[kTile].threads(), kTileShapes[kTile].blocks) gemm_tiled_kernel(const GemmTask task) {
  using Warp = WarpTile<kTile, Codec>;
  constexpr TileShape kShape = kTileShapes[kTile];
  constexpr int kStageBytes = kShape.stage_bytes(kPanelStageBytes<Codec>);
  M2_DYNAMIC_SHARED(shared);
  const uint32_t address = ptx::shared_address(shared);
  Loader<kTile, Codec> loader(task);
#pragma unroll
  for (int i = 0; i < kShape.stages - 1; i++) {
#pragma unroll
    for (int part = 0; part < loader.kParts; part++) loader.load(address + i * kStageBytes, part);
    loader.commit();
  }
  Warp warp;
  Tiles tiles(task, TileShape::kPanels, kShape.rows, TileShape::kWarpRows);
  const int stages = static_cast<int>(stages_of(task.k));
  int slot = 0, free_slot = kShape.stages - 1;
  while (tiles.next()) {
    Warp::clear(warp.total);
    Warp::clear(warp.sums);
    const bool has_rows = tiles.first_row + warp.row < tiles.end_row;
    for (int stage = 0; stage < stages; stage++) {
      ptx::cp_async_wait<kShape.stages - 2>();
      __syncthreads();  // the stage has come, and everybody is done with the one before
      const uint8_t* here = shared + slot * kStageBytes;
      const uint32_t here_address = address + slot * kStageBytes, free_address = address + free_slot * kStageBytes;
      if (has_rows) warp.fetch(here, here_address, 0);
#pragma unroll
      for (int step = 0; step < kStageSteps; step++) {
        if (has_rows) {
          if (step + 1 < kStageSteps) warp.fetch(here, here_address, step + 1);
          warp.multiply(step);
        }
        loader.load(free_address, step);
      }
      loader.commit();
      if (has_rows && ((stage + 1) % kSegmentStages == 0 || stage + 1 == stages)) warp.end_segment();
      free_slot = slot;
      slot = slot + 1 == kShape.stages ? 0 : slot + 1;
    }
    if (!has_rows) continue;
    const Corner corner{tiles.first_panel + warp.panel, tiles.first_row + warp.row, tiles.end_row};
    write_sums<Warp::kPanels, Warp::kRowTiles, 4>(task, corner, [&](int p, int j, int r) -> float& { return warp.total[p][j][r]; });
  }
}

}  // namespace

void gemm_tiled(const Machine& m, const GemmTask& task, const GemmPlan& plan) {
  const Launch l{.grid = plan.grid_x, .block = plan.threads, .shared = plan.shared};
  with_codec(task.type, [&](auto codec) {
    using Codec = decltype(codec);
    switch (plan.tile_rows) {
      case kTileShapes[0].rows: return launch<gemm_tiled_kernel<0, Codec>>(m, l, task);
      case kTileShapes[1].rows: return launch<gemm_tiled_kernel<1, Codec>>(m, l, task);
      default: return launch<gemm_tiled_kernel<2, Codec>>(m, l, task);
    }
  });
}

}  // namespace m2::cuda
