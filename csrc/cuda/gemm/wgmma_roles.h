// Who does what in a block of gemm_wgmma: consumers, a warpgroup that brings what they need, one that writes what they have summed.
#pragma once
#include <type_traits>

#include "cuda/gemm/wgmma_producer.h"
#include "cuda/gemm/wgmma_writer.h"
#include "cuda/ptx/wgmma.h"

namespace m2::cuda {

// use(the number as a constant)
template <int kNumber, class Use>
__device__ __forceinline__ void with_units(int number, const Use& use) {
  if (number == kNumber) return use(std::integral_constant<int, kNumber>());
  if constexpr (kNumber > 1) with_units<kNumber - 1>(number, use);
}

// Consumer: multiplies what Codec is. rows_of_x: where they come by a tensor map.
template <int kShape, class Codec, class Consumer>
__device__ __forceinline__ void work_by_roles(const GemmTask& task, const CUtensorMap* rows_of_x, int stages, int tile_rows) {
  using Rings = WgmmaRings<kShape, Codec>;
  constexpr WgmmaShape kForm = kWgmmaShapes[kShape];
  constexpr int kUnit = WgmmaShape::kRowUnit, kMostUnits = (Rings::kFp8Rows ? kMostFp8TileRows : kMostTileRows) / kUnit;
  M2_DYNAMIC_SHARED(shared);
  const Rings rings{shared, ptx::shared_address(shared), stages, tile_rows};
  ptx::let_next_kernel_start();
  if (threadIdx.x == 0) rings.init(Rings::kFp8Rows || task.source ? 1 + 4 * kWarp : 1);
  __syncthreads();
  const int warpgroup = static_cast<int>(threadIdx.x) / (4 * kWarp);
  if (warpgroup == kForm.consumers) {
    ptx::give_registers<kForm.other_registers>();
    WgmmaProducer<kShape, Codec> producer(task, rows_of_x, rings);
    if constexpr (Rings::kFp8Rows) producer.gather();
    else if (task.source) producer.gather();
    else if (threadIdx.x / kWarp % 4 == 0) producer.stream();
  } else if (warpgroup > kForm.consumers) {
    ptx::give_registers<kForm.other_registers>();
    ptx::wait_for_previous_kernel();
    WgmmaWriter<kShape, Codec>(task, rings).write_all();
  } else {
    ptx::take_registers<kForm.consumer_registers>();
    ptx::wait_for_previous_kernel();
    Consumer consumer(task, rings);
    Tiles tiles(task, Rings::kPanels, tile_rows, kUnit);
    while (tiles.next()) {
      with_units<kMostUnits>((tiles.end_row - tiles.first_row + kUnit - 1) / kUnit, [&](auto n) { consumer.template multiply<n * kUnit>(); });
    }
  }
}

}  // namespace m2::cuda
