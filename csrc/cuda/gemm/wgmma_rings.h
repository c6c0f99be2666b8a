// The shared memory of gemm_wgmma: a ring of rows of x, a ring of weights with their records, the mbarriers of both, and the sums of earlier segments.
//   rows      [stages][rows of a tile][64 k]: 128 bytes a row, 16-byte chunks at chunk ^ (row % 8), as wgmma reads operand B with 128-byte swizzle
//   weights   [stages]{[panels][a panel's stage, as codec.h has it], [panels][records]}
//   mbarriers [stages]{full, empty}
//   parked    [floats of a thread / 4][threads of all consumers][4], where K has several segments
#pragma once
#include "cuda/gemm/codec.h"
#include "cuda/gemm/plan.h"
#include "cuda/ptx/mbarrier.h"

namespace m2::cuda {

template <int kShape, class Codec>
struct WgmmaRings {
  static constexpr WgmmaShape kForm = kWgmmaShapes[kShape];
  static constexpr int kRowBytes = kStage * 2, kPanelBytes = Codec::kVectors * kWarp * 16, kRecordBytes = Codec::kRecordVectors * 16;
  static constexpr int kPanelRecordBytes = Codec::kStageRecords * kRecordBytes, kPanels = kForm.panels();
  static constexpr int kRowsBytes = kForm.rows * kRowBytes, kWeightBytes = kPanels * (kPanelBytes + kPanelRecordBytes);

  uint8_t* shared;
  uint32_t address;
  int stages;

  __device__ __forceinline__ int rows(int slot) const { return slot * kRowsBytes; }
  __device__ __forceinline__ int weights(int slot, int panel) const { return stages * kRowsBytes + slot * kWeightBytes + panel * kPanelBytes; }
  __device__ __forceinline__ int records(int slot, int panel) const { return weights(slot, kPanels) + panel * kPanelRecordBytes; }
  __device__ __forceinline__ uint32_t full(int slot) const { return address + stages * (kRowsBytes + kWeightBytes) + slot * 16; }
  __device__ __forceinline__ uint32_t empty(int slot) const { return full(slot) + 8; }
  __device__ __forceinline__ float4* parked() const { return reinterpret_cast<float4*>(shared + stages * (kRowsBytes + kWeightBytes + 16)); }

  // By one thread. A stage is full when its bytes have come and so many have arrived; empty when each consumer warp has done with it.
  __device__ __forceinline__ void init(int full_arrivals) const {
    for (int slot = 0; slot < stages; slot++) {
      ptx::mbarrier_init(full(slot), full_arrivals);
      ptx::mbarrier_init(empty(slot), kForm.consumers * 4);
    }
    ptx::fence_mbarrier_init();
  }
};

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
