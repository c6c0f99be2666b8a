// Which kernel computes a product, in what tiles, on what grid: from sizes that the host knows, and nothing else. All choices give the same bits.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <ostream>

#include "cuda/gemm/layout.h"

namespace m2::cuda {

// gemm_small: rows that pass a panel at once, warps of a block, floats from one row of sums to the next (no bank conflicts).
struct SmallShape {
  static constexpr int kRows = 16, kMostWarps = 8, kPitch = kPanel + 4;
  static constexpr size_t shared_bytes(int64_t k) { return static_cast<size_t>(segments_of(k)) * kRows * kPitch * sizeof(float); }
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

struct GemmShape {
  int64_t rows, groups, n, k;
  int panel_bytes;  // of a stage
};

struct GemmPlan {
  int tile_rows;  // 0: gemm_small
  unsigned grid_x, grid_y, threads;
  size_t shared;  // bytes
};

inline std::ostream& operator<<(std::ostream& out, const GemmPlan& p) {
  if (p.tile_rows == 0) out << "small";
  else out << "tiles of " << TileShape::kPanels * kPanel << " x " << p.tile_rows;
  return out << ", grid " << p.grid_x << " x " << p.grid_y << ", " << p.threads << " threads, " << p.shared << " bytes";
}

// Few rows of a group: one pass over its weights is what counts. Else the tile with the least to load, in all waves of blocks together: a group has its
// mean share of rows and somewhat more, or its last tile would too often be one that is nearly empty.
inline GemmPlan plan_gemm(int multiprocessors, size_t shared_per_block, const GemmShape& s) {
  const auto parts = [](int64_t whole, int64_t part) { return (whole + part - 1) / part; };
  const int64_t groups = std::min(s.groups, s.rows), panels = panels_of(s.n), most_small_rows = 8 * SmallShape::kRows;
  if (s.rows <= SmallShape::kRows || (s.rows <= most_small_rows && 2 * s.rows <= groups * SmallShape::kRows)) {
    const int64_t warps = std::min<int64_t>(segments_of(s.k), SmallShape::kMostWarps);
    return {0, static_cast<unsigned>(panels), static_cast<unsigned>(groups), static_cast<unsigned>(warps * 32), SmallShape::shared_bytes(s.k)};
  }
  const int64_t columns = parts(panels, TileShape::kPanels), mean = parts(s.rows, groups);
  const int64_t rows = groups == 1 ? mean : mean + static_cast<int64_t>(std::sqrt(static_cast<double>(mean)));
  const TileShape* best = nullptr;
  int64_t least = 0;
  for (const TileShape& tile : kTileShapes) {
    if (tile.shared_bytes(s.panel_bytes) > shared_per_block) continue;
    const int64_t waves = parts(columns * groups * parts(rows, tile.rows), multiprocessors), cost = waves * tile.stage_bytes(s.panel_bytes);
    if (best && cost >= least) continue;
    best = &tile;
    least = cost;
  }
  const int64_t most_tiles = columns * ((s.rows - groups) / best->rows + groups), grid = std::min<int64_t>(most_tiles, static_cast<int64_t>(multiprocessors) * best->blocks);
  return {best->rows, static_cast<unsigned>(grid), 1, static_cast<unsigned>(best->threads()), best->shared_bytes(s.panel_bytes)};
}

}  // namespace m2::cuda
