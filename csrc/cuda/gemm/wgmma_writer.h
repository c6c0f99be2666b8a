// What takes a tile's sums out of shared memory while the consumers are at the next tile. Warp w has what warp w of each consumer warpgroup has summed.
#pragma once
#include "cuda/gemm/epilogue.h"
#include "cuda/gemm/tiles.h"
#include "cuda/gemm/wgmma_rings.h"

namespace m2::cuda {

template <int kShape, class Codec>
class WgmmaWriter {
  using Rings = WgmmaRings<kShape, Codec>;
  static constexpr int kPanels = WgmmaShape::kWarpPanels, kUnit = WgmmaShape::kRowUnit, kEights = kUnit / 8;

 public:
  __device__ __forceinline__ WgmmaWriter(const GemmTask& task, const Rings& rings) : task_(task), rings_(rings) {}

  __device__ __forceinline__ void write_all() {
    Tiles tiles(task_, Rings::kPanels, rings_.tile_rows, kUnit);
    for (uint32_t parity = 0; tiles.next(); parity ^= 1) {
      ptx::mbarrier_wait(rings_.summed(), parity);
      for (int unit = 0; tiles.first_row + unit * kUnit < tiles.end_row; unit++) {
        for (int consumer = 0; consumer < Rings::kForm.consumers; consumer++) write_unit(tiles, unit, consumer * 4 + static_cast<int>(threadIdx.x) / kWarp % 4);
      }
      __syncwarp();
      if (threadIdx.x % kWarp == 0) ptx::mbarrier_arrive(rings_.written());
    }
  }

 private:
  // A unit of rows of a consumer warp's panels.
  __device__ __forceinline__ void write_unit(const Tiles& tiles, int unit, int warp) {
    const float4* from = rings_.sums() + unit * kPanels * kEights * Rings::kConsumerThreads + warp * kWarp + threadIdx.x % kWarp;
    float sums[kPanels][kEights][4];
#pragma unroll
    for (int i = 0; i < kPanels * kEights; i++) {
      const float4 v = from[i * Rings::kConsumerThreads];
      float(&to)[4] = sums[i % kPanels][i / kPanels];
      to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
    }
    const Corner corner{tiles.first_panel + warp * kPanels, tiles.first_row + unit * kUnit, tiles.end_row};
    write_sums<kPanels, kEights, 2>(task_, corner, [&](int p, int j, int r) -> float& { return sums[p][j][r]; });
  }

  const GemmTask& task_;
  const Rings& rings_;
};

}  // namespace m2::cuda
