// What multiplies in gemm_wgmma where rows are e4m3 (fp8_operand.h). A warp has 2 panels of the 8 of its warpgroup, each in one of the warpgroup's two products, and
// takes one after the other: registers hold the segment's sums of both, but the products of one chain and the fragments of 64 k only. So a warp makes fragments, waits for
// the matrix units, adds what they gave; they are the other warpgroup's meanwhile.
#pragma once
#include "cuda/gemm/fp8_operand.h"
#include "cuda/gemm/fp8_rows.h"
#include "cuda/gemm/wgmma_rings.h"
#include "cuda/ptx/wgmma.h"

namespace m2::cuda {

// kSteps: of 32 k in a chain.
template <int kShape, class Codec, int kSteps>
class WgmmaFp8Consumer {
  using Rings = WgmmaRings<kShape, Codec>;
  static constexpr int kPanels = WgmmaShape::kWarpPanels, kBlockSteps = kBlockK / 32, kBatch = kSteps < 2 ? kSteps : 2;  // steps of a stage, and those at once

 public:
  __device__ __forceinline__ WgmmaFp8Consumer(const GemmTask& task, const Rings& rings) : rings_(rings), stages_(static_cast<int>(stages_of(task.k)) / Rings::kStages) {}

  // A tile of at most kColumns rows.
  template <int kColumns>
  __device__ __forceinline__ void multiply() {
    for (int first = 0; first < stages_; first += kSegmentBlocks) {
      float sums[kPanels][kColumns / 2] = {};
      const int end = min(stages_, first + kSegmentBlocks);
#pragma unroll 1
      for (int stage = first; stage < end; stage++) multiply_stage<kColumns>(sums);
      if (first == 0) ptx::mbarrier_wait(rings_.written(), tile_parity_ ^ 1);  // the tile before
      park<Rings, kColumns>(sums, sums_, first == 0);
    }
    tile_parity_ ^= 1;
    __syncwarp();
    if (threadIdx.x % kWarp == 0) ptx::mbarrier_arrive(rings_.summed());
  }

 private:
  template <int kColumns>
  __device__ __forceinline__ void multiply_stage(float (&sums)[kPanels][kColumns / 2]) {
    ptx::mbarrier_wait(rings_.full(turn_.slot), turn_.parity);
    const uint64_t rows = ptx::matrix_descriptor(rings_.address + rings_.rows(turn_.slot), 16, 8 * Rings::kRowBytes, ptx::Swizzle::k128);
    const float* scales = reinterpret_cast<const float*>(rings_.shared + rings_.scales(turn_.slot));
    float products[kColumns / 2];
#pragma unroll
    for (int p = 0; p < kPanels; p++) {
#pragma unroll(kSteps / kBatch)
      for (int first = 0; first < kBlockSteps; first += kBatch) {
        uint32_t a[kBatch][4];
        const typename Codec::Scales own = make(a, panel_ + p, first);
        ptx::wgmma_fence();
#pragma unroll
        for (int i = 0; i < kBatch; i++) ptx::wgmma_e4m3(products, a[i], rows + (first + i) * 2, i > 0 || (kSteps > kBatch && first % kSteps != 0));
        ptx::wgmma_commit();
        ptx::wgmma_wait<0>();
        if ((first + kBatch) % kSteps == 0) add_chain<kColumns>(sums[p], products, Codec::factors(own, 0), scales);
      }
    }
    __syncwarp();
    if (threadIdx.x % kWarp == 0) ptx::mbarrier_arrive(rings_.empty(turn_.slot));
    turn_.next(rings_.stages);
  }

  // The fragments of some steps of the stage, and their scales.
  __device__ __forceinline__ typename Codec::Scales make(uint32_t (&a)[kBatch][4], int panel, int first) const {
    const uint4* weights = reinterpret_cast<const uint4*>(rings_.shared + rings_.weights(turn_.slot, panel)) + first / 2 * Codec::kVectors * kWarp + threadIdx.x % kWarp;
    const uint4* record = reinterpret_cast<const uint4*>(rings_.shared + rings_.records(turn_.slot, panel)) + first / kSteps * Codec::kRecordVectors;
    const typename Codec::Scales scales = Codec::scales(record, record);
    uint4 stored[Codec::kVectors];
#pragma unroll
    for (int v = 0; v < Codec::kVectors; v++) stored[v] = weights[v * kWarp];
#pragma unroll
    for (int i = 0; i < kBatch; i++) Codec::fragment(a[i], stored, scales, kBatch == 1 ? first % 2 : i);
    return scales;
  }

  const Rings& rings_;
  int stages_;
  int panel_ = static_cast<int>(threadIdx.x) / kWarp * kPanels;  // of the tile
  float4* sums_ = rings_.sums() + threadIdx.x;  // of all segments up to here
  Turn turn_;
  uint32_t tile_parity_ = 0;
};

}  // namespace m2::cuda
