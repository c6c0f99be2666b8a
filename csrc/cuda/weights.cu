// Packing: rows of a host tensor into the layout of gemm/layout.h. The rows come through the pinned buffers as they are; a kernel rounds them to bf16 (to
// nearest even) and puts each pair of k, a 32-bit word, to its place. Zeros: each row brings those behind its K, and the last row those of the rows
// behind it, so it does not matter in which ranges and order rows come.
// Moves each source byte and each packed byte once; the copy to the device is what takes the time.
#include <cuda_fp16.h>

#include "cuda/gemm/layout.h"
#include "cuda/launch.h"
#include "cuda/launchers.h"
#include "cuda/ptx/launch.h"
#include "cuda/vectors.h"

namespace m2::cuda {
namespace {

constexpr int kThreads = 256;

struct PackTask {
  const void* source;  // [rows, k] of dtype
  DType dtype;
  int rows, k, n;
  int64_t first_row;
  bool gate_up;
  uint32_t* panels;    // of the expert
};

__device__ __forceinline__ uint32_t bf16_pair(const PackTask& task, int64_t at) {
  switch (task.dtype) {
    case DType::kF32: {
      const float2 pair = static_cast<const float2*>(task.source)[at];
      return pack_bf16(pair.x, pair.y);
    }
    case DType::kF16: {
      const float2 pair = __half22float2(static_cast<const __half2*>(task.source)[at]);
      return pack_bf16(pair.x, pair.y);
    }
    default: return static_cast<const uint32_t*>(task.source)[at];
  }
}

// Which of the packed words has the `pair`-th pair of k of an output.
__device__ __forceinline__ int64_t packed_word(const PackTask& task, int64_t output, int pair) {
  int64_t panel = output / kPanel, row = output % kPanel;
  if (task.gate_up) {
    const int64_t half = task.n / 2, up = output >= half, i = output - up * half;
    panel = i / 8;
    row = i % 8 + 8 * up;
  }
  const int64_t step = pair / 8, in_step = pair % 8, lane = row % 8 * 4 + in_step % 4, word = row / 8 + in_step / 4 * 2;
  return ((panel * stages_of(task.k) * kStageSteps + step) * kStepVectors + lane) * 4 + word;
}

// A row of blocks for each row; those behind task.rows are zeros. A product may read weights before it waits for the kernel in front of it, so this one
// lets nobody start early, and ends when all that it wrote can be seen.
__global__ void __launch_bounds__(kThreads) pack_kernel(const PackTask task) {
  ptx::wait_for_previous_kernel();
  const int row = blockIdx.x, pair = blockIdx.y * kThreads + threadIdx.x;
  if (pair >= stages_of(task.k) * (kStage / 2)) return;
  const bool given = row < task.rows && 2 * pair < task.k;
  const uint32_t bits = given ? bf16_pair(task, static_cast<int64_t>(row) * (task.k / 2) + pair) : 0;
  task.panels[packed_word(task, task.first_row + row, pair)] = bits;
  __threadfence();
}

}  // namespace

size_t weight_bytes(int64_t experts, int64_t n, int64_t k) { return static_cast<size_t>(experts * panels_of(n) * panel_vectors(k)) * sizeof(uint4); }

void pack(const Machine& m, Staging& staging, Weight& weight, int64_t expert, int64_t first_row, const View& source) {
  const int64_t n = weight.n, k = weight.k;
  const size_t row_bytes = static_cast<size_t>(k) * dtype_bytes(source.dtype);
  const int64_t most = static_cast<int64_t>(Staging::kBytes / row_bytes);
  expect(most > 0, "a row of a weight must have at most ", Staging::kBytes, " bytes, found ", row_bytes);
  PackTask task{nullptr, source.dtype, 0, static_cast<int>(k), static_cast<int>(n), 0, weight.layout == WeightLayout::kGateUp,
                static_cast<uint32_t*>(weight.data.data()) + expert * panels_of(n) * panel_vectors(k) * 4};
  for (int64_t done = 0; done < source.size(0); done += task.rows) {
    task.rows = static_cast<int>(std::min(most, source.size(0) - done));
    task.first_row = first_row + done;
    const int64_t last = task.first_row + task.rows, rows = task.rows + (last == n ? panels_of(n) * kPanel - n : 0);
    const dim3 grid(static_cast<unsigned>(rows), static_cast<unsigned>((stages_of(k) * (kStage / 2) + kThreads - 1) / kThreads));
    staging.bring(static_cast<const char*>(source.data) + done * row_bytes, task.rows * row_bytes, [&](const void* device) {
      task.source = device;
      launch<pack_kernel>(m, {.grid = grid, .block = kThreads}, task);
    });
  }
}

}  // namespace m2::cuda
