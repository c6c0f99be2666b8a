// Which kernel computes a product, in what tiles, on what grid: from sizes that the host knows, and nothing else. All choices give the same bits.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <ostream>

#include "core/weight.h"
#include "cuda/gemm/layout.h"

namespace m2::cuda {

// What a plan must know of a format (codec.h): bytes of a panel's stage with what it reads of records; a lane's instructions to make a fragment on Hopper; whether
// rows are e4m3.
struct FormatFacts {
  int panel_bytes, decode;
  bool fp8_rows = false;
};
constexpr FormatFacts facts_of(const WeightType& type) {
  const bool fp8_rows = type.fp8_rows;
  switch (type.format) {
    case WeightFormat::kFp8: return {1024 + 16, fp8_rows ? 2 : 24, fp8_rows};
    case WeightFormat::kInt4: return {512 + (type.zeros ? 128 : 64), type.zeros && !fp8_rows ? 20 : 17, fp8_rows};
    default: return {2048, 1};
  }
}

// gemm_small: rows that pass a panel at once, warps of a block, floats from one row of sums to the next (no bank conflicts). On sm_90 each warp has a ring of
// slots, each for a piece of weights, its records and an mbarrier.
struct SmallShape {
  static constexpr int kRows = 16, kMostWarps = 8, kPitch = kPanel + 4, kPieceBytes = 2048, kFewestSlots = 2;
  static constexpr int kResidentWarps = 16;  // that registers let a multiprocessor have
  static constexpr size_t sums_bytes(int64_t k) { return static_cast<size_t>(segments_of(k)) * kRows * kPitch * sizeof(float); }
  // panel_bytes: of a panel's stage, as codec.h says: 512 of weights, or a multiple, and less than that of records.
  static constexpr int piece_stages(int panel_bytes) { return kPieceBytes / (panel_bytes / 512 * 512); }
  static constexpr int ring_bytes(int slots, int panel_bytes) { return slots * piece_stages(panel_bytes) * panel_bytes + (slots + 1) / 2 * 16; }
};

// gemm_small_fp8: panels of a block, which are a warpgroup's, and segments that it takes at once.
struct SmallFp8Shape {
  static constexpr int kPanels = 4, kMostSegments = 4, kMostThreads = kPanels * kMostSegments * 32;
};

// gemm_tiled: a block's tile is 128 outputs times so many rows, a warp's 16 panels outputs times 32 rows.
struct TileShape {
  static constexpr int kPanels = 8, kWarpRows = 32;
  int rows;         // 32, 64 or 128
  int warp_panels;
  int stages;       // in shared memory
  int blocks;       // that share a multiprocessor

  constexpr int warps_down() const { return kPanels / warp_panels; }
  constexpr int threads() const { return warps_down() * (rows / kWarpRows) * 32; }
  // panel_bytes: of a panel's stage, as codec.h says.
  constexpr int stage_bytes(int panel_bytes) const { return kPanels * panel_bytes + rows * kStage * 2; }
  constexpr size_t shared_bytes(int panel_bytes) const { return static_cast<size_t>(stages) * stage_bytes(panel_bytes); }
};
constexpr std::array<TileShape, 3> kTileShapes = {{{128, 4, 4, 1}, {64, 4, 3, 2}, {32, 2, 4, 2}}};

constexpr int kMostTileRows = 128, kMostFp8TileRows = 96;  // of gemm_wgmma; with rows of e4m3 registers hold the products of a chain beside the sums

// A stage of gemm_wgmma: 64 k, or 128 where rows are e4m3, each with a scale.
struct StageFacts {
  int panel_bytes, row_bytes;
  int panel_slots, row_slots;  // a warp's instructions: to make a panel's fragments, and for each eight rows that a panel meets
  int most_rows;               // of a tile
};
constexpr StageFacts stage_facts(const FormatFacts& format) {
  if (format.fp8_rows) return {2 * format.panel_bytes, 2 * kStage + 4, 2 * kStageSteps * format.decode, 9, kMostFp8TileRows};
  return {format.panel_bytes, kStage * 2, kStageSteps * format.decode, 0, kMostTileRows};
}

// gemm_wgmma: each consumer warpgroup has 128 outputs of all the tile's rows, beside one warpgroup that
// brings what they need and one that writes what they have summed. Tiles have whole units of rows.
struct WgmmaShape {
  static constexpr int kWarpPanels = 2, kWarpgroupPanels = 4 * kWarpPanels, kRowUnit = 16, kMostStages = 8;
  int consumers;
  int consumer_registers, other_registers;  // of a thread

  constexpr int panels() const { return consumers * kWarpgroupPanels; }
  constexpr int threads() const { return (consumers + 2) * 128; }
  constexpr size_t stage_bytes(int rows, const StageFacts& f) const { return panels() * f.panel_bytes + rows * f.row_bytes + 2 * sizeof(uint64_t); }
  constexpr size_t sums_bytes(int rows) const { return panels() * kPanel * rows * sizeof(float) + 2 * sizeof(uint64_t); }
  constexpr size_t shared_bytes(int stages, int rows, const StageFacts& f) const { return stages * stage_bytes(rows, f) + sums_bytes(rows); }
  // As many as fit.
  constexpr int stages(size_t shared, int rows, const StageFacts& f) const {
    return sums_bytes(rows) > shared ? 0 : static_cast<int>(std::min<size_t>((shared - sums_bytes(rows)) / stage_bytes(rows, f), kMostStages));
  }
};
constexpr std::array<WgmmaShape, 2> kWgmmaShapes = {{{2, 184, 72}, {1, 232, 72}}};

struct GemmShape {
  int64_t rows, groups, n, k;
  FormatFacts format;
  bool gathers;      // rows of x
};

struct GemmPlan {
  int tile_rows;     // 0: gemm_small
  unsigned grid_x, grid_y, threads;
  size_t shared;     // bytes
  int consumers = 0; // warpgroups of a block of gemm_wgmma; 0: another kernel
  int stages = 0;    // of gemm_wgmma
  int slots = 0;     // of a warp of gemm_small; 0: its ring is in registers
  int columns = 0;   // of gemm_small_fp8, rows at a time; 0: another kernel
};

inline std::ostream& operator<<(std::ostream& out, const GemmPlan& p) {
  if (p.columns > 0) out << "small, FP8, " << p.columns << " rows, rings of " << p.slots << " pieces";
  else if (p.tile_rows == 0 && p.slots == 0) out << "small, rings in registers";
  else if (p.tile_rows == 0) out << "small, rings of " << p.slots << " pieces";
  else if (p.consumers == 0) out << "tiles of " << TileShape::kPanels * kPanel << " x " << p.tile_rows;
  else out << "wgmma tiles of " << p.consumers * WgmmaShape::kWarpgroupPanels * kPanel << " x " << p.tile_rows << ", " << p.stages << " stages";
  return out << ", grid " << p.grid_x << " x " << p.grid_y << ", " << p.threads << " threads, " << p.shared << " bytes";
}

// Whether the device has what is compiled for sm_90a: the copy engine's bulk copies, wgmma.
constexpr bool is_hopper(int architecture) { return architecture / 10 == 9; }

constexpr int64_t parts_of(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

// Rows of a group that tiles are chosen for: its mean share and somewhat more, or its last tile would too often be one that is nearly empty.
inline int64_t expected_rows(int64_t rows, int64_t groups) {
  const int64_t mean = parts_of(rows, groups);
  return groups == 1 ? mean : mean + static_cast<int64_t>(std::sqrt(static_cast<double>(mean)));
}

// Cycles of a multiprocessor for a stage of a tile: of its matrix units (64 x 16 outputs and k by 2 rows a cycle), of its four schedulers, of its share of L2
// (30 bytes; H100 and H200 read about 5.5 TB/s), and of a ring that holds no more than `stages` while memory takes its time to answer.
inline int64_t wgmma_stage_cycles(const WgmmaShape& shape, int64_t rows, int stages, const StageFacts& f) {
  constexpr int64_t kL2Bytes = 30, kLatency = 1500;
  const int64_t panels = shape.panels(), matrix = panels * kStageSteps / 4 * rows / 2, schedulers = panels * (f.panel_slots + rows / 8 * f.row_slots) / 4;
  return std::max({matrix, schedulers, (panels * f.panel_bytes + rows * f.row_bytes) / kL2Bytes, kLatency / stages});
}

// The tile whose rounds on all multiprocessors take the fewest cycles. Gathered rows are told of a stage late, so a ring of two would stand still.
inline GemmPlan plan_wgmma(int multiprocessors, size_t shared_per_block, const GemmShape& s) {
  const int64_t groups = std::min(s.groups, s.rows), rows = expected_rows(s.rows, groups);
  const StageFacts facts = stage_facts(s.format);
  GemmPlan best{};
  int64_t least = 0;
  for (const WgmmaShape& shape : kWgmmaShapes) {
    const int64_t columns = parts_of(panels_of(s.n), shape.panels());
    for (int tile_rows = facts.most_rows; tile_rows > 0; tile_rows -= WgmmaShape::kRowUnit) {
      const int stages = shape.stages(shared_per_block, tile_rows, facts);
      if (stages < (s.gathers || s.format.fp8_rows ? 3 : 2)) continue;
      const int64_t tiles = parts_of(rows, tile_rows), units = parts_of(parts_of(rows, WgmmaShape::kRowUnit), tiles);  // of each, shared out evenly
      const int64_t cost = parts_of(columns * groups * tiles, multiprocessors) * wgmma_stage_cycles(shape, units * WgmmaShape::kRowUnit, stages, facts);
      if (best.tile_rows > 0 && cost >= least) continue;
      least = cost;
      const int64_t most_tiles = columns * ((s.rows - groups) / tile_rows + groups);
      best = {.tile_rows = tile_rows, .grid_x = static_cast<unsigned>(std::min<int64_t>(most_tiles, multiprocessors)), .grid_y = 1, .threads = static_cast<unsigned>(shape.threads()),
              .shared = shape.shared_bytes(stages, tile_rows, facts), .consumers = shape.consumers, .stages = stages};
    }
  }
  return best;
}

// Blocks of one panel, for each group that may have rows; where some rows of x are read by all, of so many panels as make eight warps, for which L1 then brings
// them once. Rings are as long as lets all blocks that find room on a multiprocessor share its memory, and no longer than a segment is.
inline GemmPlan plan_small(int architecture, int multiprocessors, size_t shared_per_block, const GemmShape& s) {
  constexpr int kSharedRows = 4;
  const int64_t groups = std::min(s.groups, s.rows), of_panel = std::min<int64_t>(segments_of(s.k), SmallShape::kMostWarps);
  const int64_t panels = s.groups == 1 && s.rows >= kSharedRows ? SmallShape::kMostWarps / of_panel : 1, warps = of_panel * panels;
  const size_t sums = panels * SmallShape::sums_bytes(s.k);
  GemmPlan plan{.tile_rows = 0, .grid_x = static_cast<unsigned>(parts_of(panels_of(s.n), panels)), .grid_y = static_cast<unsigned>(groups), .threads = static_cast<unsigned>(warps * 32), .shared = sums};
  if (!is_hopper(architecture)) return plan;
  const int64_t blocks = std::clamp<int64_t>(parts_of(static_cast<int64_t>(plan.grid_x) * groups, multiprocessors), 1, std::max<int64_t>(SmallShape::kResidentWarps / warps, 1));
  const int64_t memory = static_cast<int64_t>(shared_per_block + 1024) / blocks - 1024 - static_cast<int64_t>(sums);
  const int64_t pieces = parts_of(std::min<int64_t>(stages_of(s.k), kSegmentStages), SmallShape::piece_stages(s.format.panel_bytes));
  plan.slots = static_cast<int>(pieces);
  while (plan.slots > SmallShape::kFewestSlots && warps * SmallShape::ring_bytes(plan.slots, s.format.panel_bytes) > memory) plan.slots--;
  plan.shared = warps * SmallShape::ring_bytes(plan.slots, s.format.panel_bytes) + sums;
  return plan;
}

// Blocks of four panels, a warp for each and a warpgroup for each of up to four segments; rings as above. No plan (no threads) where K is so long that a block
// has no room for the rows.
inline GemmPlan plan_small_fp8(int multiprocessors, size_t shared_per_block, const GemmShape& s) {
  using Shape = SmallFp8Shape;
  const int64_t groups = std::min(s.groups, s.rows), columns = s.rows <= 8 ? 8 : 16, warps = Shape::kPanels * std::min<int64_t>(segments_of(s.k), Shape::kMostSegments);
  const int64_t beside = columns * (s.k + s.k / 128 * static_cast<int64_t>(sizeof(float))) + Shape::kPanels * static_cast<int64_t>(SmallShape::sums_bytes(s.k));
  GemmPlan plan{.tile_rows = 0, .grid_x = static_cast<unsigned>(parts_of(panels_of(s.n), Shape::kPanels)), .grid_y = static_cast<unsigned>(groups), .threads = 0, .shared = 0, .columns = static_cast<int>(columns)};
  const int64_t resident = std::clamp<int64_t>(parts_of(static_cast<int64_t>(plan.grid_x) * groups, multiprocessors), 1, SmallShape::kResidentWarps / warps);
  const int64_t pieces = parts_of(std::min<int64_t>(stages_of(s.k), kSegmentStages), SmallShape::piece_stages(s.format.panel_bytes));
  for (int64_t blocks = resident; blocks > 0; blocks--) {
    const int64_t memory = static_cast<int64_t>(shared_per_block + 1024) / blocks - 1024 - beside;
    plan.slots = static_cast<int>(pieces);
    while (plan.slots > SmallShape::kFewestSlots && warps * SmallShape::ring_bytes(plan.slots, s.format.panel_bytes) > memory) plan.slots--;
    const int64_t rings = warps * SmallShape::ring_bytes(plan.slots, s.format.panel_bytes);
    plan.shared = static_cast<size_t>(rings + beside);
    plan.threads = rings <= memory ? static_cast<unsigned>(warps * 32) : 0;
    if (plan.threads > 0) break;
  }
  return plan;
}

// Few rows of a group: one pass over its weights is what counts. Else tiles: where the device has wgmma, from the first row that gemm_small leaves, its own,
// which read no more of L2 than those of mma with as many outputs, keep more stages under way, and multiply up to 1.6 times as fast. Elsewhere the tiles with
// the least to load, in all waves of blocks together.
inline GemmPlan plan_gemm(int architecture, int multiprocessors, size_t shared_per_block, const GemmShape& s) {
  const int64_t groups = std::min(s.groups, s.rows), panels = panels_of(s.n), most_small_rows = 8 * SmallShape::kRows;
  if (s.rows <= SmallShape::kRows || (s.rows <= most_small_rows && 2 * s.rows <= groups * SmallShape::kRows)) {
    if (!is_hopper(architecture) || !s.format.fp8_rows) return plan_small(architecture, multiprocessors, shared_per_block, s);
    const GemmPlan plan = plan_small_fp8(multiprocessors, shared_per_block, s);
    if (plan.threads > 0) return plan;
  }
  if (is_hopper(architecture)) return plan_wgmma(multiprocessors, shared_per_block, s);
  const int64_t columns = parts_of(panels, TileShape::kPanels), rows = expected_rows(s.rows, groups);
  const TileShape* best = nullptr;
  int64_t least = 0;
  for (const TileShape& tile : kTileShapes) {
    if (tile.shared_bytes(s.format.panel_bytes) > shared_per_block) continue;
    const int64_t waves = parts_of(columns * groups * parts_of(rows, tile.rows), multiprocessors), cost = waves * tile.stage_bytes(s.format.panel_bytes);
    if (best && cost >= least) continue;
    best = &tile;
    least = cost;
  }
  const int64_t most_tiles = columns * ((s.rows - groups) / best->rows + groups), grid = std::min<int64_t>(most_tiles, static_cast<int64_t>(multiprocessors) * best->blocks);
  return {best->rows, static_cast<unsigned>(grid), 1, static_cast<unsigned>(best->threads()), best->shared_bytes(s.format.panel_bytes)};
}

}  // namespace m2::cuda
