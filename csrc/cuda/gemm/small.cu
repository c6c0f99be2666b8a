// Products of few rows, bound by reading the weights: y = x W^T for up to 16 rows at a time.
//
// A block has one panel of 16 outputs (or some, where many rows make x the larger part), each of its warps a segment of K of one, whose weights come
// through a ring of its own (small_rings.h); for a dense product they are asked for before the kernel in front has ended. On sm_90 the plan gives the warps of
// a multiprocessor all of its shared memory, some 190 KiB, to have on their way, which hides the latency of memory several times over (by Little's law about
// 32 KiB of it: 4.3 TB/s over 132 multiprocessors and 1 us); M2's segments of int4 are then asked for whole, or nearly. On sm_80 a warp has 3 to 6 KiB in
// registers.
//
// What is left to bound it are instructions: a stage of 64 k takes a warp about 85 of them with int4, 512 bytes, and 125 with FP8, 1 KiB; memory brings 512 bytes
// to a multiprocessor in 27 cycles, in which its four schedulers issue 108. So rows of x come as the fragments that they are to be, 4 bytes for each lane
// out of L1: 16 bytes and four shuffles would take more instructions.
//
// The segments' sums meet in shared memory and are added in order. Grouped: blockIdx.y counts the groups that have rows, so each weight in use is read once,
// however many rows (up to 16) use it; a group with more rows takes them 16 at a time. Combining (experts' outputs): the block that is last to write its panel
// adds up each token's experts, as unpermute.cu does.
// Must move: the weights in use, x and out. Does move: the same from memory; x once more for each block out of L1 or L2.
#include "cuda/arrival.h"
#include "cuda/gemm/fp8_by_f16.h"
#include "cuda/gemm/fragment.h"
#include "cuda/gemm/kernels.h"
#include "cuda/gemm/small_rings.h"
#include "cuda/gemm/small_rows.h"
#include "cuda/launch.h"
#include "cuda/ptx/launch.h"

namespace m2::cuda {
namespace {

constexpr int kTileRows = 8;  // of one mma

// The chain of a segment for kTiles * 8 rows. x: for each tile, the segment of this lane's row, from the lane's first pair of k on; behind `depth` are zeros.
template <int kTiles, class Ring>
__device__ __forceinline__ void sum_segment(Ring& ring, const uint32_t* const (&x)[2], int depth, float (&sums)[2][4]) {
  uint32_t next[kTiles][2 * kStageSteps];  // a stage ahead
  const auto load = [&](int stage) {
#pragma unroll
    for (int i = 0; i < 2 * kStageSteps; i++) {
      const int k = stage * kStage + i * 8;
#pragma unroll
      for (int tile = 0; tile < kTiles; tile++) next[tile][i] = k < depth ? x[tile][k / 2] : 0;
    }
  };
  load(0);
  for (int first = 0; first < ring.stages; first += Ring::kAhead) {
    ring.ready();
#pragma unroll
    for (int slot = 0; slot < Ring::kAhead; slot++) {
      const int stage = first + slot;
      if (stage >= ring.stages) break;
      ring.fetch(slot);
      uint32_t tokens[kTiles][2 * kStageSteps];
#pragma unroll
      for (int tile = 0; tile < kTiles; tile++) {
#pragma unroll
        for (int i = 0; i < 2 * kStageSteps; i++) tokens[tile][i] = next[tile][i];
      }
      load(stage + 1);
#pragma unroll
      for (int step = 0; step < kStageSteps; step++) {
        const uint4 weights = ring.fragment(slot, step);
#pragma unroll
        for (int tile = 0; tile < kTiles; tile++) multiply_step(sums[tile], weights, tokens[tile][2 * step], tokens[tile][2 * step + 1]);
      }
      ring.pass(slot, stage);
    }
    ring.release();
  }
}

// Which of a block's warps does what: a panel's warps share out its segments.
struct Part {
  int panel, segment, warps;  // of the product; the warp's first; of a panel

  __device__ __forceinline__ static Part of_warp(int segments) {
    const int warp = threadIdx.x / kWarp, warps = min(segments, SmallShape::kMostWarps), panels = blockDim.x / kWarp / warps;
    return {static_cast<int>(blockIdx.x) * panels + warp / warps, warp % warps, warps};
  }
};

// All rows of a group, 16 at a time. The ring has been begun with the warp's first segment.
template <class Ring>
__device__ __forceinline__ void multiply_group(const GemmTask& task, const Part& part, const Group& group, Ring& ring, float* partial) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4, segments = static_cast<int>(segments_of(task.k));
  const int panel = min(part.panel, task.panels - 1);  // behind the last, that one once more: its results go nowhere
  for (int first = group.first_row; first < group.end_row; first += kRows) {
    const int count = min(kRows, group.end_row - first);
    for (int segment = part.segment; segment < segments; segment += part.warps) {
      const uint32_t* x[2];  // lanes beyond the last row take that one: its results are not looked at
#pragma unroll
      for (int tile = 0; tile < 2; tile++) x[tile] = reinterpret_cast<const uint32_t*>(row_of_x(task, min(first + tile * kTileRows + g, group.end_row - 1)) + segment * kSegment) + t;
      float sums[2][4] = {};
      if (count <= kTileRows) sum_segment<1>(ring, x, task.k - segment * kSegment, sums);
      else sum_segment<2>(ring, x, task.k - segment * kSegment, sums);
      if (segment + part.warps < segments) ring.begin(group.index, panel, segment + part.warps);
      else if (first + kRows < group.end_row) ring.begin(group.index, panel, part.segment);
#pragma unroll
      for (int tile = 0; tile < 2; tile++) {
#pragma unroll
        for (int r = 0; r < 4; r++) partial[(segment * kRows + tile * kTileRows + 2 * t + r % 2) * kPitch + g + r / 2 * 8] = sums[tile][r];
      }
    }
    __syncthreads();
    write_rows(task, part.panel, partial, threadIdx.x % (part.warps * kWarp), part.warps * kWarp, first, count);
    if (first + kRows < group.end_row) __syncthreads();
  }
}

template <class Ring>
__global__ void __launch_bounds__(SmallShape::kMostWarps* kWarp, 2) gemm_small_kernel(const GemmTask task, const Combination combination, int slots, int ring_bytes) {
  if constexpr (Ring::kIsHopper && !M2_HOPPER) return;
  M2_DYNAMIC_SHARED(shared);  // a ring for each warp, then sums [panels][segments][16 rows][kPitch]
  ptx::let_next_kernel_start();
  const int segments = static_cast<int>(segments_of(task.k)), warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  const Part part = Part::of_warp(segments);
  float* partial = reinterpret_cast<float*>(shared + warps * ring_bytes) + warp / part.warps * segments * kRows * kPitch;
  Ring ring(task, shared + warp * ring_bytes, slots);
  const auto begin = [&](int group) { ring.begin(group, min(part.panel, task.panels - 1), part.segment); };
  if (!task.offsets) begin(0);
  ptx::wait_for_previous_kernel();
  Group group{0, 0, task.rows};
  if (task.offsets) {
    group = find_group(task, blockIdx.y);
    if (group.first_row < group.end_row) begin(group.index);
  }
  multiply_group(task, part, group, ring, partial);
  if (combination.out && is_last_block(combination.counters + blockIdx.x, gridDim.y)) combine_rows(task, combination, static_cast<int>(blockIdx.x), 1);
}

}  // namespace

void gemm_small(const Machine& m, const GemmTask& task, const GemmPlan& plan, const Combination& combination) {
  const Launch l{.grid = dim3(plan.grid_x, plan.grid_y), .block = plan.threads, .shared = plan.shared};
  with_codec(task.type, [&](auto codec) {
    using Codec = decltype(codec);
    if (plan.slots == 0) launch<gemm_small_kernel<RegisterRing<Codec>>>(m, l, task, combination, 0, 0);
    else launch<gemm_small_kernel<BulkRing<HopperCodec<Codec>>>>(m, l, task, combination, plan.slots, SmallShape::ring_bytes(plan.slots, kPanelStageBytes<Codec>));
  });
}

}  // namespace m2::cuda
