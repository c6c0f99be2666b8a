// What kernels of few rows have in common: which rows a block has, and how the sums of a panel's segments, which meet in shared memory, become rows of out.
#pragma once
#include "cuda/experts/combine.h"
#include "cuda/gemm/task.h"

namespace m2::cuda {

constexpr int kRows = SmallShape::kRows, kPitch = SmallShape::kPitch;

struct Group {
  int index, first_row, end_row;
};

// The `wanted`-th of the groups that have rows; where there is none, one without rows. A warp looks at 32 groups at a time; the loads of 256, as many as M2 has
// experts, are under way together.
__device__ __forceinline__ Group find_group(const GemmTask& task, int wanted) {
  const int lane = threadIdx.x % kWarp;
  Group own{-1, 0, 0};  // this lane's, if it is the one
  int used = 0;
#pragma unroll 8
  for (int first = 0; first < task.groups; first += kWarp) {
    const int g = first + lane, begin = task.offsets[min(g, task.groups)], end = task.offsets[min(g + 1, task.groups)];
    const unsigned with_rows = __ballot_sync(kFullMask, end > begin);
    if (end > begin && used + __popc(with_rows & ((1u << lane) - 1)) == wanted) own = {g, begin, end};
    used += __popc(with_rows);
  }
  const unsigned found = __ballot_sync(kFullMask, own.index >= 0);
  if (found == 0) return {0, 0, 0};
  const int owner = __ffs(found) - 1;
  return {__shfl_sync(kFullMask, own.index, owner), __shfl_sync(kFullMask, own.first_row, owner), __shfl_sync(kFullMask, own.end_row, owner)};
}

// The sum of four neighbouring outputs of a row over the segments. partial: of the panel.
__device__ __forceinline__ void add_segments(const float* partial, int segments, int row, int column, float (&total)[4]) {
  total[0] = total[1] = total[2] = total[3] = 0;
  for (int segment = 0; segment < segments; segment++) {
    const float4 part = *reinterpret_cast<const float4*>(partial + (segment * kRows + row) * kPitch + column);
    total[0] += part.x, total[1] += part.y, total[2] += part.z, total[3] += part.w;
  }
}

// A panel: each of the `threads` that share it writes four outputs of some rows.
__device__ __forceinline__ void write_rows(const GemmTask& task, int panel, const float* partial, int thread, int threads, int first_row, int count) {
  const bool gated = task.output == Output::kSwiGlu;
  const int outputs = gated ? kPanel / 2 : kPanel, vectors = outputs / 4, segments = static_cast<int>(segments_of(task.k));
  for (int i = thread; i < count * vectors; i += threads) {
    const int row = i / vectors, in_panel = i % vectors * 4, column = panel * outputs + in_panel;
    float values[4], others[4];  // others: of up rows, or what stands at the place
    add_segments(partial, segments, row, in_panel, values);
    if (gated) {
      add_segments(partial, segments, row, in_panel + outputs, others);
#pragma unroll
      for (int j = 0; j < 4; j++) values[j] = swiglu(values[j], others[j]);
    } else if (task.output == Output::kAddF32) {
      read_outputs(task, first_row + row, column, others);
#pragma unroll
      for (int j = 0; j < 4; j++) values[j] = others[j] + values[j];
    }
    write_outputs(task, first_row + row, column, values);
  }
}

// Some panels' part of what the experts of each token give together.
__device__ __forceinline__ void combine_rows(const GemmTask& task, const Combination& c, int first_panel, int panels) {
  const int vectors = panels * (kPanel / 4);
  for (int i = threadIdx.x; i < c.tokens * vectors; i += blockDim.x) {
    const int token = i / vectors, column = first_panel * kPanel + i % vectors * 4;
    if (column >= task.width) continue;
    add_experts<4>(static_cast<const __nv_bfloat16*>(task.out), c.target + token * c.active, c.weights + token * c.active, c.active, task.width, column,
                   c.out + static_cast<int64_t>(token) * task.width);
  }
}

}  // namespace m2::cuda
