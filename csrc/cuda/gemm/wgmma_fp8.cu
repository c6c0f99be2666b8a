// gemm_wgmma where rows are e4m3 (fp8_operand.h): twice the rate, stages of 128 k, up to 96 rows, and sums of chains that the plain units add up. All rows are
// gathered, since each brings a scale of its own.
//
// A stage of 256 x 96 costs                int4       FP8
//   matrix units, cycles                  768       768
//   fragments, adding chains, slots       976       496   544 and 64; 432: 9 for a panel and 8 rows
//   L2, cycles                          1,037     1,532   30 and 45 KiB
// Predicted, of FP8's rate: int4 74 % and FP8 50 % (L2), times how full the tiles are.
#include "cuda/gemm/kernels.h"
#include "cuda/gemm/wgmma_fp8_consumer.h"
#include "cuda/gemm/wgmma_roles.h"
#include "cuda/launch.h"

namespace m2::cuda {
namespace {

template <int kShape, class Codec, bool kIsWhole>
__global__ void __launch_bounds__(kWgmmaShapes[kShape].threads(), 1)
gemm_wgmma_fp8_kernel([[maybe_unused]] const GemmTask task, [[maybe_unused]] int stages, [[maybe_unused]] int tile_rows) {
#if M2_HOPPER
  work_by_roles<kShape, Codec, WgmmaFp8Consumer<kShape, Codec, kIsWhole>>(task, nullptr, stages, tile_rows);
#endif
}

}  // namespace

void gemm_wgmma_fp8(const Machine& m, const GemmTask& task, const GemmPlan& plan) {
  const Launch l{.grid = plan.grid_x, .block = plan.threads, .shared = plan.shared};
  const auto run = [&]<class Codec, bool kIsWhole>() {
    if (plan.consumers == kWgmmaShapes[0].consumers) return launch<gemm_wgmma_fp8_kernel<0, Codec, kIsWhole>>(m, l, task, plan.stages, plan.tile_rows);
    return launch<gemm_wgmma_fp8_kernel<1, Codec, kIsWhole>>(m, l, task, plan.stages, plan.tile_rows);
  };
  with_operand(task.type, [&](auto codec) {
    using Codec = decltype(codec);
    if constexpr (!std::is_same_v<Codec, Fp8Operand>) {
      if (task.type.group < kRowBlock) return run.template operator()<Codec, false>();
    }
    run.template operator()<Codec, true>();
  });
}

}  // namespace m2::cuda
