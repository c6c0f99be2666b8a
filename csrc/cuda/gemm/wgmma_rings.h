// The shared memory of gemm_wgmma: a ring of rows of x, a ring of weights with their records, their mbarriers, and sums of segments.
//   rows      [stages][rows of the largest tile][64 k, or 128 of e4m3]: 128 bytes a row, 16-byte chunks at chunk ^ (row % 8), as wgmma reads operand B with
//             128-byte swizzle
//   weights   [stages]{[panels][so many k of a panel, as codec.h has them], [panels][records]}
//   scales    of e4m3: [stages][rows of the largest tile] f32
//   mbarriers [stages]{full, empty}, {summed, written}
//   sums      [eights of rows][panels of a warp][threads of all consumers][4]: fragments, over the segments up to here
#pragma once
#include "cuda/gemm/fp8_operand.h"
#include "cuda/gemm/plan.h"
#include "cuda/ptx/mbarrier.h"

namespace m2::cuda {

template <int kShape, class Codec>
struct WgmmaRings {
  static constexpr WgmmaShape kForm = kWgmmaShapes[kShape];
  static constexpr bool kFp8Rows = kIsOperand<Codec>;
  static constexpr int kRowBytes = kStage * 2, kStages = kFp8Rows ? 2 : 1;  // of 64 k, in one
  static constexpr int kPanelBytes = kStages * Codec::kVectors * kWarp * 16, kRecordBytes = Codec::kRecordVectors * 16, kScaleBytes = kFp8Rows ? 4 : 0;
  static constexpr int kPanelRecordBytes = kStages * Codec::kStageRecords * kRecordBytes, kPanels = kForm.panels(), kConsumerThreads = kForm.consumers * 4 * kWarp;
  static constexpr int kWeightBytes = kPanels * (kPanelBytes + kPanelRecordBytes);

  uint8_t* shared;
  uint32_t address;
  int stages, tile_rows;

  __device__ __forceinline__ int rows(int slot) const { return slot * tile_rows * kRowBytes; }
  __device__ __forceinline__ int weights(int slot, int panel) const { return rows(stages) + slot * kWeightBytes + panel * kPanelBytes; }
  __device__ __forceinline__ int records(int slot, int panel) const { return weights(slot, kPanels) + panel * kPanelRecordBytes; }
  __device__ __forceinline__ int scales(int slot) const { return weights(stages, 0) + slot * tile_rows * kScaleBytes; }
  __device__ __forceinline__ uint32_t full(int slot) const { return address + scales(stages) + slot * 2 * static_cast<int>(sizeof(uint64_t)); }
  __device__ __forceinline__ uint32_t empty(int slot) const { return full(slot) + sizeof(uint64_t); }
  __device__ __forceinline__ uint32_t summed() const { return full(stages); }
  __device__ __forceinline__ uint32_t written() const { return empty(stages); }
  __device__ __forceinline__ float4* sums() const { return reinterpret_cast<float4*>(shared + (full(stages + 1) - address)); }

  // By one thread. A stage is full when its bytes have come and so many have arrived; empty when each consumer warp has done with it. A tile is summed when
  // each consumer warp has, and written when each warp of the writers has done its part.
  __device__ __forceinline__ void init(int full_arrivals) const {
    for (int slot = 0; slot < stages; slot++) {
      ptx::mbarrier_init(full(slot), full_arrivals);
      ptx::mbarrier_init(empty(slot), kForm.consumers * 4);
    }
    ptx::mbarrier_init(summed(), kForm.consumers * 4);
    ptx::mbarrier_init(written(), 4);
    ptx::fence_mbarrier_init();
  }
};

// Adds a consumer thread's sums of a segment to those of the segments before, in shared memory. at: the thread's place in Rings::sums.
template <class Rings, int kColumns>
__device__ __forceinline__ void park(const float (&sums)[WgmmaShape::kWarpPanels][kColumns / 2], float4* at, bool is_first) {
  constexpr int kPanels = WgmmaShape::kWarpPanels, kEights = kColumns / 8;
#pragma unroll
  for (int i = 0; i < kPanels * kEights; i++) {
    if (i % 4 == 0) __syncwarp();  // or all of them would be read first, and there are no registers for that
    const float(&own)[kColumns / 2] = sums[i % kPanels];
    const int first = i / kPanels * 4;
    const float4 before = is_first ? float4{} : at[i * Rings::kConsumerThreads];
    at[i * Rings::kConsumerThreads] = {before.x + own[first], before.y + own[first + 1], before.z + own[first + 2], before.w + own[first + 3]};
  }
}

// Whose turn it is in a ring, and the parity of the phase that fills it.
struct Turn {
  int slot = 0;
  uint32_t parity = 0;

  __device__ __forceinline__ void next(int stages) {
    if (++slot < stages) return;
    slot = 0;
    parity ^= 1;
  }
};

}  // namespace m2::cuda
