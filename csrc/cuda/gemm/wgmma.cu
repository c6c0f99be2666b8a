// Products of many rows on Hopper's matrix units: tiles of 256 (or 128) outputs times up to 128 rows, for dense and grouped products alike.
//
// Weights lie packed as mma's operand A, which is wgmma's operand A from registers: a warp reads its panels out of shared memory 16 bytes a lane, makes bf16 of
// them (gemm/codec.h) and multiplies; they are never rearranged. Rows of x are operand B in shared memory. One warpgroup brings, one or two multiply.
#include <type_traits>

#include "cuda/gemm/epilogue.h"
#include "cuda/gemm/kernels.h"
#include "cuda/gemm/wgmma_producer.h"
#include "cuda/launch.h"
#include "cuda/ptx/wgmma.h"
#include "cuda/tensor_map.h"

namespace m2::cuda {
namespace {

constexpr int kUnit = WgmmaShape::kRowUnit, kMostUnits = WgmmaShape::kMostRows / kUnit;

// A consumer warp: 2 panels of the 8 of its warpgroup, neighbours, each in one of the warpgroup's two products.
template <int kShape, class Codec>
class WgmmaConsumer {
  using Rings = WgmmaRings<kShape, Codec>;
  static constexpr int kPanels = WgmmaShape::kWarpPanels, kThreads = Rings::kForm.consumers * 4 * kWarp;

 public:
  __device__ __forceinline__ WgmmaConsumer(const GemmTask& task, const Rings& rings)
      : task_(task), rings_(rings), stages_(static_cast<int>(stages_of(task.k))), second_record_(record_shift(task.type) < 6 ? Codec::kRecordVectors : 0) {}

  // A tile of at most kColumns rows.
  template <int kColumns>
  __device__ __forceinline__ void multiply() {
    for (int first = 0; first < stages_; first += kSegmentStages) {
      float sums[kPanels][kColumns / 2] = {};
      const int end = min(stages_, first + kSegmentStages);
      enter(turn_);
      make(turn_, 0);
      for (int stage = first; stage < end; stage++) multiply_stage<kColumns>(sums, stage + 1 == end);
      park<kColumns>(sums, first == 0);
    }
  }

  // What a unit of rows has come to.
  __device__ __forceinline__ void write(const Tiles& tiles, int unit) {
    constexpr int kEights = kUnit / 8;
    float sums[kPanels][kEights][4];
#pragma unroll
    for (int i = 0; i < kPanels * kEights; i++) {
      const float4 v = sums_[(unit * kPanels * kEights + i) * kThreads];
      float(&to)[4] = sums[i % kPanels][i / kPanels];
      to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
    }
    const Corner corner{tiles.first_panel + panel_, tiles.first_row + unit * kUnit, tiles.end_row};
    write_sums<kPanels, kEights>(task_, corner, [&](int p, int j, int r) -> float& { return sums[p][j][r]; });
  }

 private:
  // A stage whose first fragments are made. While a step is multiplied the next one's are made, in the other of two buffers: it is free when the step
  // before is complete. The last step makes the next stage's first; behind the last stage that is this one's again, for nobody.
  template <int kColumns>
  __device__ __forceinline__ void multiply_stage(float (&sums)[kPanels][kColumns / 2], bool is_last) {
    const uint64_t rows = ptx::matrix_descriptor(rings_.address + rings_.rows(turn_.slot), 16, 8 * Rings::kRowBytes, ptx::Swizzle::k128);
    Turn next = turn_;
    if (!is_last) next.next(rings_.stages);
#pragma unroll
    for (int step = 0; step < kStageSteps; step++) {
      ptx::wgmma_fence();
#pragma unroll
      for (int p = 0; p < kPanels; p++) ptx::wgmma_bf16(sums[p], fragments_[step % 2][p], rows + step * (kStep * 2 / 16), 1);
      ptx::wgmma_commit();
      ptx::wgmma_wait<1>();
      if (step + 1 == kStageSteps) enter(next);
      make(step + 1 == kStageSteps ? next : turn_, (step + 1) % kStageSteps);
    }
    ptx::wgmma_wait<0>();
    __syncwarp();
    if (threadIdx.x % kWarp == 0) ptx::mbarrier_arrive(rings_.empty(turn_.slot));
    turn_.next(rings_.stages);
  }

  // Until the stage is there; what a lane needs of its records.
  __device__ __forceinline__ void enter(const Turn& turn) {
    ptx::mbarrier_wait(rings_.full(turn.slot), turn.parity);
#pragma unroll
    for (int p = 0; p < kPanels; p++) {
      const uint4* record = reinterpret_cast<const uint4*>(rings_.shared + rings_.records(turn.slot, panel_ + p));
      scales_[p] = Codec::scales(record, record + second_record_);
    }
  }

  // A step's fragments.
  __device__ __forceinline__ void make(const Turn& turn, int step) {
    const uint4* weights = reinterpret_cast<const uint4*>(rings_.shared + rings_.weights(turn.slot, panel_)) + threadIdx.x % kWarp;
#pragma unroll
    for (int p = 0; p < kPanels; p++) {
      if (step % Codec::kVectorSteps == 0) stored_[p] = weights[(p * Codec::kVectors + step / Codec::kVectorSteps) * kWarp];
      const uint4 f = Codec::fragment(stored_[p], scales_[p], step);
      uint32_t(&to)[4] = fragments_[step % 2][p];
      to[0] = f.x, to[1] = f.y, to[2] = f.z, to[3] = f.w;
    }
  }

  // Adds a segment's sums to those of the segments before, in shared memory.
  template <int kColumns>
  __device__ __forceinline__ void park(const float (&sums)[kPanels][kColumns / 2], bool is_first) {
    constexpr int kEights = kColumns / 8;
#pragma unroll
    for (int i = 0; i < kPanels * kEights; i++) {
      if (i % 4 == 0) __syncwarp();  // or all of them would be read first, and there are no registers for that
      const float(&own)[kColumns / 2] = sums[i % kPanels];
      const int at = i / kPanels * 4;
      const float4 before = is_first ? float4{} : sums_[i * kThreads];
      sums_[i * kThreads] = {before.x + own[at], before.y + own[at + 1], before.z + own[at + 2], before.w + own[at + 3]};
    }
  }

  const GemmTask& task_;
  const Rings& rings_;
  int stages_, second_record_;
  int panel_ = static_cast<int>(threadIdx.x) / kWarp * kPanels;  // of the tile
  float4* sums_ = rings_.sums();  // of all segments up to here
  Turn turn_;
  uint4 stored_[kPanels];
  typename Codec::Scales scales_[kPanels];
  uint32_t fragments_[2][kPanels][4];  // of two steps
};

// use(the number as a constant)
template <int kNumber = kMostUnits, class Use>
__device__ __forceinline__ void with_units(int number, const Use& use) {
  if (number == kNumber) return use(std::integral_constant<int, kNumber>());
  if constexpr (kNumber > 1) with_units<kNumber - 1>(number, use);
}

template <int kShape, class Codec>
__global__ void __launch_bounds__(kWgmmaShapes[kShape].threads(), 1)
gemm_wgmma_kernel([[maybe_unused]] const GemmTask task, [[maybe_unused]] const __grid_constant__ CUtensorMap rows_of_x, [[maybe_unused]] int stages, [[maybe_unused]] int tile_rows) {
#if defined(M2_EMULATED) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900)
  constexpr WgmmaShape kForm = kWgmmaShapes[kShape];
  M2_DYNAMIC_SHARED(shared);
  const WgmmaRings<kShape, Codec> rings{shared, ptx::shared_address(shared), stages, tile_rows};
  ptx::let_next_kernel_start();
  if (threadIdx.x == 0) rings.init(task.source ? 1 + 4 * kWarp : 1);
  __syncthreads();
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  if (warp >= kForm.consumers * 4) {
    if constexpr (kForm.producer_registers > 0) ptx::give_registers<kForm.producer_registers>();
    WgmmaProducer<kShape, Codec> producer(task, &rows_of_x, rings);
    if (task.source) producer.gather();
    else if (warp == kForm.consumers * 4) producer.stream();
    return;
  }
  if constexpr (kForm.consumer_registers > 0) ptx::take_registers<kForm.consumer_registers>();
  ptx::wait_for_previous_kernel();
  WgmmaConsumer<kShape, Codec> consumer(task, rings);
  Tiles tiles(task, kForm.panels(), tile_rows, kUnit);
  while (tiles.next()) {
    const int units = (tiles.end_row - tiles.first_row + kUnit - 1) / kUnit;
    with_units(units, [&](auto n) { consumer.template multiply<n * kUnit>(); });
    for (int unit = 0; unit < units; unit++) consumer.write(tiles, unit);
  }
#endif
}

// Rows of x where they are not gathered, or the tokens that they are gathered from.
CUtensorMap map_of(const GemmTask& task) {
  const cuuint64_t rows = task.rows / task.slots, k = task.k;
  return tensor_map<2>(task.x, {CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, {k, rows}, {k * 2}, {kStage, kUnit}, CU_TENSOR_MAP_SWIZZLE_128B});
}

}  // namespace

void gemm_wgmma(const Machine& m, const GemmTask& task, const GemmPlan& plan) {
  const Launch l{.grid = plan.grid_x, .block = plan.threads, .shared = plan.shared};
  const CUtensorMap map = map_of(task);
  with_codec(task.type, [&](auto codec) {
    using Codec = decltype(codec);
    if (plan.consumers == kWgmmaShapes[0].consumers) return launch<gemm_wgmma_kernel<0, Codec>>(m, l, task, map, plan.stages, plan.tile_rows);
    return launch<gemm_wgmma_kernel<1, Codec>>(m, l, task, map, plan.stages, plan.tile_rows);
  });
}

}  // namespace m2::cuda
