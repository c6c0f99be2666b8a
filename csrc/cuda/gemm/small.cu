// Products of few rows, bound by reading the weights: y = x W^T for up to 16 rows at a time.
//
// A block has one panel of 16 outputs, each of its warps a segment of K. Weights go straight from memory to the registers they are multiplied in: a warp
// always has 6 (FP8), 8 (int4) or 16 (bf16) loads of 512 bytes under way (3 to 8 KiB; with M2's shapes and one token that is 23, 31 and 46 KiB and more on
// each of 132 multiprocessors, where 32 hide the latency), and the first of them are asked for before the kernel in front has ended. Rows of x come out of L1, 16 bytes for each lane, and
// change places among four lanes to be fragments. The segments' sums meet in shared memory and are added in order.
//
// Grouped: blockIdx.y counts the groups that have rows, so each weight in use is read once, however many rows (up to 16) use it; a group with more
// rows takes them 16 at a time. Must move: the weights in use, x and out. Does move: the same from memory; x once more for each block out of L1 or L2.
#include "cuda/gemm/fragment.h"
#include "cuda/gemm/kernels.h"
#include "cuda/launch.h"
#include "cuda/ptx/launch.h"
#include "cuda/ptx/memory.h"

namespace m2::cuda {
namespace {

constexpr int kRows = SmallShape::kRows, kPitch = SmallShape::kPitch;
constexpr int kTileRows = 8;  // of one mma
constexpr int kHalf = kStage / 2;  // k of a row that four lanes load at once, 16 bytes each: two steps

// A warp's way through one segment of a panel.
template <class Codec>
struct WeightRing {
  static constexpr int kAhead = Codec::kAhead, kStageVectors = Codec::kVectors * kWarp;
  uint4 slots[kAhead][Codec::kVectors];
  typename Codec::Scales scales[kAhead];
  const uint4* from;     // this lane's vector of the first step
  const uint4* records;  // of the panel
  int first_stage, stages, shift;

  __device__ __forceinline__ void ask(int slot, int stage) {
    if (stage >= stages) return;
#pragma unroll
    for (int i = 0; i < Codec::kVectors; i++) slots[slot][i] = ptx::ld_global_streaming(from + stage * kStageVectors + i * kWarp);
    const int k = (first_stage + stage) * kStage;
    scales[slot] = Codec::scales(records + (k >> shift) * Codec::kRecordVectors, records + ((k + kHalf) >> shift) * Codec::kRecordVectors);
  }
  __device__ __forceinline__ void begin(const GemmTask& task, int group, int segment) {
    first_stage = segment * kSegmentStages;
    from = panel_of<Codec>(task, group, blockIdx.x) + static_cast<int64_t>(first_stage) * kStageVectors + threadIdx.x % kWarp;
    records = records_of<Codec>(task, group, blockIdx.x);
    shift = record_shift(task.type);
    stages = min(static_cast<int>(stages_of(task.k)) - first_stage, kSegmentStages);
#pragma unroll
    for (int slot = 0; slot < kAhead; slot++) ask(slot, slot);
  }
  __device__ __forceinline__ uint4 fragment(int slot, int step) const { return Codec::fragment(slots[slot][step / Codec::kVectorSteps], scales[slot], step); }
};

// The chain of a segment for kTiles * 8 rows. x: for each tile, the segment of this lane's row, from the lane's first 8 k on; behind `depth` are zeros.
template <int kTiles, class Codec>
__device__ __forceinline__ void sum_segment(WeightRing<Codec>& ring, const __nv_bfloat16* const (&x)[2], int depth, float (&sums)[2][4]) {
  uint4 next[kTiles];  // half a stage ahead
  const auto load = [&](int k) {
#pragma unroll
    for (int tile = 0; tile < kTiles; tile++) next[tile] = k < depth ? *reinterpret_cast<const uint4*>(x[tile] + k) : uint4{};
  };
  load(0);
  for (int first = 0; first < ring.stages; first += ring.kAhead) {
#pragma unroll
    for (int slot = 0; slot < ring.kAhead; slot++) {
      const int stage = first + slot;
      if (stage >= ring.stages) break;
#pragma unroll
      for (int half = 0; half < 2; half++) {
        uint32_t tokens[kTiles][4];
#pragma unroll
        for (int tile = 0; tile < kTiles; tile++) tokens[tile][0] = next[tile].x, tokens[tile][1] = next[tile].y, tokens[tile][2] = next[tile].z, tokens[tile][3] = next[tile].w;
        load(stage * kStage + (half + 1) * kHalf);
#pragma unroll
        for (int tile = 0; tile < kTiles; tile++) transpose_lanes<1>(tokens[tile]);
#pragma unroll
        for (int step = 0; step < 2; step++) {
          const uint4 weights = ring.fragment(slot, 2 * half + step);
#pragma unroll
          for (int tile = 0; tile < kTiles; tile++) multiply_step(sums[tile], weights, tokens[tile][2 * step], tokens[tile][2 * step + 1]);
        }
      }
      ring.ask(slot, stage + ring.kAhead);
    }
  }
}

struct Group {
  int index, first_row, end_row;
};

// The `wanted`-th of the groups that have rows; where there is none, one without rows. Each lane looks at a run of neighbouring groups.
__device__ __forceinline__ Group find_group(const GemmTask& task, int wanted) {
  const int lane = threadIdx.x % kWarp, run = (task.groups + kWarp - 1) / kWarp, first = min(lane * run, task.groups), end = min(first + run, task.groups);
  int mine = 0;
#pragma unroll 4
  for (int g = first; g < end; g++) mine += task.offsets[g + 1] > task.offsets[g];
  int sum = mine;
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    const int before = __shfl_up_sync(kFullMask, sum, step);
    if (lane >= step) sum += before;
  }
  const unsigned reached = __ballot_sync(kFullMask, sum > wanted);
  if (reached == 0) return {0, 0, 0};
  const int owner = __ffs(reached) - 1;
  int group = first;
  if (lane == owner) {
    for (int left = wanted - (sum - mine);; group++) {
      if (task.offsets[group + 1] > task.offsets[group] && left-- == 0) break;
    }
  }
  group = __shfl_sync(kFullMask, group, owner);
  return {group, task.offsets[group], task.offsets[group + 1]};
}

// The sum of four neighbouring outputs of a row over the segments.
__device__ __forceinline__ void add_segments(const float* partial, int segments, int row, int column, float (&total)[4]) {
  total[0] = total[1] = total[2] = total[3] = 0;
  for (int segment = 0; segment < segments; segment++) {
    const float4 part = *reinterpret_cast<const float4*>(partial + (segment * kRows + row) * kPitch + column);
    total[0] += part.x, total[1] += part.y, total[2] += part.z, total[3] += part.w;
  }
}

// Each thread has four outputs of some rows.
__device__ __forceinline__ void write_rows(const GemmTask& task, const float* partial, int first_row, int count) {
  const bool gated = task.output == Output::kSwiGlu;
  const int outputs = gated ? kPanel / 2 : kPanel, vectors = outputs / 4, segments = static_cast<int>(segments_of(task.k));
  for (int i = threadIdx.x; i < count * vectors; i += blockDim.x) {
    const int row = i / vectors, in_panel = i % vectors * 4, column = static_cast<int>(blockIdx.x) * outputs + in_panel;
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

template <class Codec>
__global__ void __launch_bounds__(SmallShape::kMostWarps* kWarp, 2) gemm_small_kernel(const GemmTask task) {
  M2_DYNAMIC_SHARED(shared);
  float* partial = reinterpret_cast<float*>(shared);  // [segments][16 rows][kPitch]
  ptx::let_next_kernel_start();
  const int warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const int segments = static_cast<int>(segments_of(task.k));
  Group group{0, 0, task.rows};
  WeightRing<Codec> ring;
  if (!task.offsets) ring.begin(task, 0, warp);
  ptx::wait_for_previous_kernel();
  if (task.offsets) {
    group = find_group(task, blockIdx.y);
    if (group.first_row == group.end_row) return;
    ring.begin(task, group.index, warp);
  }
  for (int first = group.first_row; first < group.end_row; first += kRows) {
    const int count = min(kRows, group.end_row - first);
    for (int segment = warp; segment < segments; segment += warps) {
      const __nv_bfloat16* x[2];  // lanes beyond the last row take that one: its results are not looked at
#pragma unroll
      for (int tile = 0; tile < 2; tile++) x[tile] = row_of_x(task, min(first + tile * kTileRows + g, group.end_row - 1)) + segment * kSegment + 8 * t;
      float sums[2][4] = {};
      if (count <= kTileRows) sum_segment<1>(ring, x, task.k - segment * kSegment, sums);
      else sum_segment<2>(ring, x, task.k - segment * kSegment, sums);
      if (segment + warps < segments) ring.begin(task, group.index, segment + warps);
      else if (first + kRows < group.end_row) ring.begin(task, group.index, warp);
#pragma unroll
      for (int tile = 0; tile < 2; tile++) {
#pragma unroll
        for (int r = 0; r < 4; r++) partial[(segment * kRows + tile * kTileRows + 2 * t + r % 2) * kPitch + g + r / 2 * 8] = sums[tile][r];
      }
    }
    __syncthreads();
    write_rows(task, partial, first, count);
    if (first + kRows < group.end_row) __syncthreads();
  }
}

}  // namespace

void gemm_small(const Machine& m, const GemmTask& task, const GemmPlan& plan) {
  with_codec(task.type, [&](auto codec) {
    launch<gemm_small_kernel<decltype(codec)>>(m, {.grid = dim3(plan.grid_x, plan.grid_y), .block = plan.threads, .shared = plan.shared}, task);
  });
}

}  // namespace m2::cuda
