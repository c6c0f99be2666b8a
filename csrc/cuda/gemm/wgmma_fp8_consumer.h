// What multiplies in gemm_wgmma where rows are e4m3 (fp8_operand.h). A warp has 2 panels of the 8 of its warpgroup, each in one of the warpgroup's two products, and
// takes one after the other: registers hold the segment's sums of both, but the products of one chain and the fragments of 64 k only. So a warp makes fragments, waits for
// the matrix units, adds what they gave; they are the other warpgroup's meanwhile.
#pragma once
#include "cuda/gemm/fp8_operand.h"
#include "cuda/gemm/fp8_rows.h"
#include "cuda/gemm/wgmma_rings.h"
#include "cuda/ptx/wgmma.h"

namespace m2::cuda {

// kIsWhole: a chain has all 128 k of a block; else 64 or 32.
template <int kShape, class Codec, bool kIsWhole>
class WgmmaFp8Consumer {
  using Rings = WgmmaRings<kShape, Codec>;
  static constexpr int kPanels = WgmmaShape::kWarpPanels, kHalves = kBlockK / kStage;

 public:
  __device__ __forceinline__ WgmmaFp8Consumer(const GemmTask& task, const Rings& rings) : rings_(rings), stages_(static_cast<int>(stages_of(task.k)) / Rings::kStages), second_record_(chain_steps(task.type) == 1 ? Codec::kRecordVectors : 0) {}

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
#pragma unroll(kIsWhole ? kHalves : 1)
      for (int half = 0; half < kHalves; half++) {
        uint32_t a[2][4];
        const typename Codec::Scales own = make(a, panel_ + p, half);
        const uint64_t at = rows + half * (kStage / 16);
        ptx::wgmma_fence();
        ptx::wgmma_e4m3(products, a[0], at, kIsWhole && half > 0);
        if (!kIsWhole && second_record_ > 0) {  // a chain of 32 k: each step is one
          ptx::wgmma_commit();
          ptx::wgmma_wait<0>();
          add_chain<kColumns>(sums[p], products, Codec::factors(own, 0), scales);
          ptx::wgmma_fence();
        }
        ptx::wgmma_e4m3(products, a[1], at + 2, kIsWhole || second_record_ == 0);
        ptx::wgmma_commit();
        ptx::wgmma_wait<0>();
        if (!kIsWhole || half + 1 == kHalves) add_chain<kColumns>(sums[p], products, Codec::factors(own, 1), scales);
      }
    }
    __syncwarp();
    if (threadIdx.x % kWarp == 0) ptx::mbarrier_arrive(rings_.empty(turn_.slot));
    turn_.next(rings_.stages);
  }

  // The fragments of 64 k of the stage, and their scales.
  __device__ __forceinline__ typename Codec::Scales make(uint32_t (&a)[2][4], int panel, int half) const {
    const uint4* weights = reinterpret_cast<const uint4*>(rings_.shared + rings_.weights(turn_.slot, panel)) + half * Codec::kVectors * kWarp + threadIdx.x % kWarp;
    const uint4* record = reinterpret_cast<const uint4*>(rings_.shared + rings_.records(turn_.slot, panel));
    if (!kIsWhole) record += half * (Codec::kRecordVectors + second_record_);
    const typename Codec::Scales scales = Codec::scales(record, kIsWhole ? record : record + second_record_);
    uint4 stored[Codec::kVectors];
#pragma unroll
    for (int v = 0; v < Codec::kVectors; v++) stored[v] = weights[v * kWarp];
#pragma unroll
    for (int i = 0; i < 2; i++) Codec::fragment(a[i], stored, scales, i);
    return scales;
  }

  const Rings& rings_;
  int stages_, second_record_;
  int panel_ = static_cast<int>(threadIdx.x) / kWarp * kPanels;  // of the tile
  float4* sums_ = rings_.sums() + threadIdx.x;  // of all segments up to here
  Turn turn_;
  uint32_t tile_parity_ = 0;
};

}  // namespace m2::cuda
