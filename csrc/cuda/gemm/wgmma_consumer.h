// What multiplies in gemm_wgmma. A warp has 2 panels of the 8 of its warpgroup, neighbours, each in one of the warpgroup's two products; it makes their
// fragments in registers, and nobody else reads those panels.
#pragma once
#include "cuda/gemm/fragment.h"
#include "cuda/gemm/wgmma_rings.h"
#include "cuda/ptx/wgmma.h"

namespace m2::cuda {

template <int kShape, class Codec>
class WgmmaConsumer {
  using Rings = WgmmaRings<kShape, Codec>;
  static constexpr int kPanels = WgmmaShape::kWarpPanels;

 public:
  __device__ __forceinline__ WgmmaConsumer(const GemmTask& task, const Rings& rings)
      : rings_(rings), stages_(static_cast<int>(stages_of(task.k))), second_record_(record_shift(task.type) < 6 ? Codec::kRecordVectors : 0) {}

  // A tile of at most kColumns rows.
  template <int kColumns>
  __device__ __forceinline__ void multiply() {
    for (int first = 0; first < stages_; first += kSegmentStages) {
      float sums[kPanels][kColumns / 2] = {};
      const int end = min(stages_, first + kSegmentStages);
      enter(turn_);
      make(turn_, 0);
      for (int stage = first; stage < end; stage++) multiply_stage<kColumns>(sums, stage + 1 == end);
      if (first == 0) ptx::mbarrier_wait(rings_.written(), tile_parity_ ^ 1);  // the tile before
      park<Rings, kColumns>(sums, sums_, first == 0);
    }
    tile_parity_ ^= 1;
    __syncwarp();
    if (threadIdx.x % kWarp == 0) ptx::mbarrier_arrive(rings_.summed());
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

  const Rings& rings_;
  int stages_, second_record_;
  int panel_ = static_cast<int>(threadIdx.x) / kWarp * kPanels;  // of the tile
  float4* sums_ = rings_.sums() + threadIdx.x;  // of all segments up to here
  Turn turn_;
  uint32_t tile_parity_ = 0;
  uint4 stored_[kPanels];
  typename Codec::Scales scales_[kPanels];
  uint32_t fragments_[2][kPanels][4];  // of two steps
};

}  // namespace m2::cuda
