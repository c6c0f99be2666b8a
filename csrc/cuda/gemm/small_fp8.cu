// Products of few rows that are rounded to e4m3, on Hopper: y = x W^T for 8 or 16 rows at a time, on the matrix units' FP8.
//
// It must be wgmma, whose sums those of long prompts are too: mma.sync has no FP8 of its own on Hopper, it multiplies f16 and sums in float32. So four warps
// with a panel each are a warpgroup, and it takes a segment of K of its four panels, 64 outputs; a block has the four panels' segments, up to four at a time. All
// else is as in small.cu: a ring of weights for each warp, sums that meet in shared memory, groups by blockIdx.y, the combination by the last block.
//
// Each block rounds the rows of its group for itself, a warp for 128 k at a time: of one row that is 24 blocks of 3,072 k, three for each of eight warps, a
// few dozen instructions while the first weights are on their way; a launch in front would cost a microsecond. They stand in shared memory as operand B.
//
// Must move: the weights in use, x and out. Does move: the same from memory; x once more for each block out of L2. 64 k of a panel take a warp about 90 instructions
// with int4, 512 bytes, of which 68 make fragments: as many as in small.cu; and 35 with FP8, 1 KiB, where small.cu takes 125. o's 48 blocks leave most
// multiprocessors without work: each brings 393 KB, predicted 5 us at 45 bytes a cycle, floor 4.4.
#include "cuda/arrival.h"
#include "cuda/gemm/fp8_operand.h"
#include "cuda/gemm/fp8_rows.h"
#include "cuda/gemm/kernels.h"
#include "cuda/gemm/small_rings.h"
#include "cuda/gemm/small_rows.h"
#include "cuda/launch.h"
#include "cuda/ptx/launch.h"
#include "cuda/ptx/wgmma.h"

namespace m2::cuda {
namespace {

using Shape = SmallFp8Shape;

// What a block has in shared memory: rows as operand B, [k / 128][kColumns][128 bytes], swizzled; the warps' rings; sums [panels][segments][16 rows][kPitch];
// the rows' scales [k / 128][kColumns].
template <int kColumns>
struct Room {
  uint8_t *codes, *ring;  // ring: the warp's own
  float *partial, *scales;

  __device__ __forceinline__ Room(const GemmTask& task, uint8_t* shared, int ring_bytes) : codes(shared) {
    const int warp = threadIdx.x / kWarp, sums = static_cast<int>(segments_of(task.k)) * kRows * kPitch;
    uint8_t* const rings = shared + task.k * kColumns;
    ring = rings + warp * ring_bytes;
    float* const all = reinterpret_cast<float*>(rings + static_cast<int>(blockDim.x) / kWarp * ring_bytes);
    partial = all + warp % Shape::kPanels * sums;
    scales = all + Shape::kPanels * sums;
  }
  // Rows that the group does not have are zeros.
  __device__ __forceinline__ void clear(int k) const {
    for (int i = threadIdx.x; i < k * kColumns / 16; i += blockDim.x) reinterpret_cast<uint4*>(codes)[i] = {};
    for (int i = threadIdx.x; i < k / kBlockK * kColumns; i += blockDim.x) scales[i] = 0;
  }
  // `count` rows from the first on.
  __device__ __forceinline__ void round(const GemmTask& task, int first_row, int count) const {
    constexpr int kBatch = 3;  // loads of a warp that are under way together
    const int lane = threadIdx.x % kWarp, warps = blockDim.x / kWarp, blocks = task.k / kBlockK;
    for (int first = threadIdx.x / kWarp; first < count * blocks; first += kBatch * warps) {
      uint2 numbers[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; i++) {
        const int at = min(first + i * warps, count * blocks - 1);
        numbers[i] = load_block(row_of_x(task, first_row + at / blocks) + at % blocks * kBlockK);
      }
#pragma unroll
      for (int i = 0; i < kBatch; i++) {
        const int at = first + i * warps, row = at / blocks, block = at % blocks;
        if (at >= count * blocks) break;
        const float scale = block_scale(numbers[i]);
        reinterpret_cast<uint32_t*>(codes + (block * kColumns + row) * kBlockK)[(lane / 4 ^ row % 8) * 4 + lane % 4] = round_block(numbers[i], scale);
        if (lane == 0) scales[block * kColumns + row] = scale;
      }
    }
    ptx::fence_proxy_async();
    __syncthreads();
  }
};

// The chains of a segment. codes: address of its first block of rows; scales: of theirs.
template <class Codec, int kColumns>
__device__ __forceinline__ void sum_segment(BulkRing<Codec>& ring, const GemmTask& task, uint32_t codes, const float* scales, float (&sums)[kColumns / 2]) {
  using Ring = BulkRing<Codec>;
  const int steps = chain_steps(task.type), chain_stages = max(steps / 2, 1);
  float products[kColumns / 2] = {};
  for (int first = 0; first < ring.stages; first += Ring::kAhead) {
    ring.ready();
#pragma unroll
    for (int slot = 0; slot < Ring::kAhead; slot++) {
      const int stage = first + slot;
      if (stage >= ring.stages) break;
      ring.fetch(slot);
      uint32_t a[2][4];
      Codec::fragment(a[0], ring.stored(), ring.scales(), 0);
      Codec::fragment(a[1], ring.stored(), ring.scales(), 1);
      const float* const block_scales = scales + stage / kBlockStages * kColumns;
      const uint64_t rows = ptx::matrix_descriptor(codes + stage / kBlockStages * kColumns * kBlockK, 16, 8 * kBlockK, ptx::Swizzle::k128) + stage % kBlockStages * (kStage / 16);
      ptx::wgmma_fence();
      ptx::wgmma_e4m3(products, a[0], rows, stage % chain_stages != 0);
      if (steps == 1) {  // each half of the stage is a chain
        ptx::wgmma_commit();
        ptx::wgmma_wait<0>();
        add_chain<kColumns>(sums, products, Codec::factors(ring.scales(), 0), block_scales);
        ptx::wgmma_fence();
      }
      ptx::wgmma_e4m3(products, a[1], rows + 2, steps > 1);
      ptx::wgmma_commit();
      ptx::wgmma_wait<0>();
      if ((stage + 1) % chain_stages == 0) add_chain<kColumns>(sums, products, Codec::factors(ring.scales(), 1), block_scales);
    }
    ring.release();
  }
}

// All rows of a group. The ring has been begun with the warp's first segment.
template <class Codec, int kColumns>
__device__ __forceinline__ void multiply_group(const GemmTask& task, const Group& group, BulkRing<Codec>& ring, const Room<kColumns>& room) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4, segments = static_cast<int>(segments_of(task.k));
  const int warp = threadIdx.x / kWarp, at_once = static_cast<int>(blockDim.x) / kWarp / Shape::kPanels, own_segment = warp / Shape::kPanels;
  const int panel = static_cast<int>(blockIdx.x) * Shape::kPanels + warp % Shape::kPanels, there = min(panel, task.panels - 1);  // behind the last, that one once more
  for (int first = group.first_row; first < group.end_row; first += kColumns) {
    const int count = min(kColumns, group.end_row - first);
    room.round(task, first, count);
    for (int segment = own_segment; segment < segments; segment += at_once) {
      float sums[kColumns / 2] = {};
      const int block = segment * kSegmentBlocks;
      sum_segment<Codec, kColumns>(ring, task, ptx::shared_address(room.codes + block * kColumns * kBlockK), room.scales + block * kColumns, sums);
      if (segment + at_once < segments) ring.begin(group.index, there, segment + at_once);
      else if (first + kColumns < group.end_row) ring.begin(group.index, there, own_segment);
#pragma unroll
      for (int i = 0; i < kColumns / 2; i++) room.partial[(segment * kRows + i / 4 * 8 + 2 * t + i % 2) * kPitch + g + i % 4 / 2 * 8] = sums[i];
    }
    __syncthreads();
    write_rows(task, panel, room.partial, own_segment * kWarp + lane, at_once * kWarp, first, count);
    if (first + kColumns < group.end_row) __syncthreads();
  }
}

template <class Codec, int kColumns>
__global__ void __launch_bounds__(Shape::kMostThreads, 1) gemm_small_fp8_kernel([[maybe_unused]] const GemmTask task, [[maybe_unused]] const Combination combination, [[maybe_unused]] int slots, [[maybe_unused]] int ring_bytes) {
#if M2_HOPPER
  M2_DYNAMIC_SHARED(shared);
  ptx::let_next_kernel_start();
  const int warp = threadIdx.x / kWarp, panel = min(static_cast<int>(blockIdx.x) * Shape::kPanels + warp % Shape::kPanels, task.panels - 1);
  const Room<kColumns> room(task, shared, ring_bytes);
  BulkRing<Codec> ring(task, room.ring, slots);
  const auto begin = [&](int group) { ring.begin(group, panel, warp / Shape::kPanels); };
  if (!task.offsets) begin(0);
  room.clear(task.k);
  ptx::wait_for_previous_kernel();
  Group group{0, 0, task.rows};
  if (task.offsets) {
    group = find_group(task, blockIdx.y);
    if (group.first_row < group.end_row) begin(group.index);
  }
  __syncthreads();
  multiply_group<Codec, kColumns>(task, group, ring, room);
  if (combination.out && is_last_block(combination.counters + blockIdx.x, gridDim.y)) combine_rows(task, combination, static_cast<int>(blockIdx.x) * Shape::kPanels, Shape::kPanels);
#endif
}

}  // namespace

void gemm_small_fp8(const Machine& m, const GemmTask& task, const GemmPlan& plan, const Combination& combination) {
  const Launch l{.grid = dim3(plan.grid_x, plan.grid_y), .block = plan.threads, .shared = plan.shared};
  with_operand(task.type, [&](auto codec) {
    using Codec = decltype(codec);
    const int ring_bytes = SmallShape::ring_bytes(plan.slots, kPanelStageBytes<Codec>);
    if (plan.columns == 8) launch<gemm_small_fp8_kernel<Codec, 8>>(m, l, task, combination, plan.slots, ring_bytes);
    else launch<gemm_small_fp8_kernel<Codec, 16>>(m, l, task, combination, plan.slots, ring_bytes);
  });
}

}  // namespace m2::cuda
