// How a warp's sums leave it. They are fragments as mma and wgmma give them: with g = lane / 4, t = lane % 4 a lane has outputs g and g + 8 of a panel for
// rows 2t and 2t + 1 of eight.
#pragma once
#include "cuda/gemm/fragment.h"
#include "cuda/gemm/task.h"

namespace m2::cuda {

// Where a warp's sums belong: its first panel and row, and the end of its rows.
struct Corner {
  int panel, row, end_row;
};

// sum(p, j, r): number r of the fragment of panel p and rows 8 j ..; kPanels of them, neighbours, and rows 0 .. 8 kEights. They are lost.
// With SwiGLU two panels of gates and ups give one fragment. Then four lanes make of theirs four neighbouring outputs of one row for each. What is added to
// is read for kBatch fragments at once before any of them is written, so that its latency is paid once for all of them.
template <int kPanels, int kEights, int kBatch, class Sum>
__device__ __forceinline__ void write_sums(const GemmTask& task, const Corner& corner, const Sum& sum) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const bool gated = task.output == Output::kSwiGlu, adds = task.output == Output::kAddF32;
  const int first_row = corner.row + 2 * t + g % 2, first_column = corner.panel * (gated ? kPanel / 2 : kPanel) + g / 4 * 4 + g % 4 / 2 * 8;
  const auto row = [&](int i) { return first_row + i % kEights * 8; };
  const auto column = [&](int i) { return first_column + i / kEights * (gated ? kPanel / 2 : kPanel); };
#pragma unroll
  for (int i = 0; i < kPanels * kEights; i++) {
    const int p = i / kEights, j = i % kEights;
    if (gated && p % 2) continue;
    float values[4] = {sum(p, j, 0), sum(p, j, 1), sum(p, j, 2), sum(p, j, 3)};
    if (gated) {
      values[0] = swiglu(values[0], values[2]), values[1] = swiglu(values[1], values[3]);
      values[2] = swiglu(sum(p | 1, j, 0), sum(p | 1, j, 2)), values[3] = swiglu(sum(p | 1, j, 1), sum(p | 1, j, 3));
    }
    transpose_lanes<4>(values);
#pragma unroll
    for (int r = 0; r < 4; r++) sum(p, j, r) = values[r];
  }
#pragma unroll
  for (int first = 0; first < kPanels * kEights; first += kBatch) {
    if (adds) {
      float others[kBatch][4];
#pragma unroll
      for (int i = 0; i < kBatch; i++) if (row(first + i) < corner.end_row) read_outputs(task, row(first + i), column(first + i), others[i]);
#pragma unroll
      for (int i = 0; i < kBatch; i++) {
#pragma unroll
        for (int r = 0; r < 4; r++) {
          float& value = sum((first + i) / kEights, (first + i) % kEights, r);
          value = others[i][r] + value;
        }
      }
    }
#pragma unroll
    for (int i = first; i < first + kBatch; i++) {
      const int p = i / kEights, j = i % kEights;
      if (gated && p % 2) continue;
      const float values[4] = {sum(p, j, 0), sum(p, j, 1), sum(p, j, 2), sum(p, j, 3)};
      if (row(i) < corner.end_row) write_outputs(task, row(i), column(i), values);
    }
  }
}

}  // namespace m2::cuda
