// Products of many rows on Hopper's matrix units: tiles of 256 (or 128) outputs times 16 to 128 rows, for dense and grouped products alike.
//
// Weights lie packed as mma's operand A, which is operand A of wgmma m64nNk16 from registers as well: warp w of a warpgroup has rows 16 w .. of the 64, so any
// panel can be its part. A warp reads its own two panels out of shared memory, 16 bytes a lane, makes bf16 of them (gemm/codec.h) while the step before is
// multiplied, and nothing is ever rearranged. Rows of x are operand B in shared memory. So a tile is wide in outputs, whose weights are few bytes, and the
// work of making fragments is shared by all its rows.
//   one warpgroup brings stages of 64 k (wgmma_producer.h), from tile to tile without a break;
//   two multiply, 128 outputs each (wgmma_consumer.h); while one of them waits for a stage or parks its sums, the other has the matrix units;
//   one writes (wgmma_writer.h): sums of segments meet in shared memory, since registers hold one segment's only, and go from there to memory, through SwiGLU
//   or added to what is there, while the next tile is multiplied.
// N is the tile's own number of rows, in steps of 16, and a group's rows are shared out evenly (gemm/tiles.h): an expert with 260 rows takes three tiles of 80,
// 96 and 84, not two of 128 and one of 4. The bits are those of gemm_tiled and gemm_small: chains of k16 from zero, segments of 1,536 added in order. That wgmma sums
// 16 k as mma does is the emulator's model; a GPU has to confirm it. Warp-specialised rings of copies: CUTLASS's mainloops for sm_90 with A in registers.
//
// Must move: weights, x and out once. Does move out of L2 for each stage of a tile: weights of 256 outputs and 128 bytes a row. A stage of 256 x 128 costs
//                                        int4       FP8      bf16
//   matrix units, cycles                1,024     1,024     1,024   16 products of 64 cycles
//   making fragments, issue slots         272       384        16   of 1,024 on each scheduler: 17 (20 with zeros), 24 and 1 for each of 16 fragments
//   shared memory, cycles                 784       908     1,152   64 KiB read as B, weights written and read, x written; 128 bytes a cycle
//   L2, cycles                            853     1,101     1,638   25, 32 and 48 KiB at the 30 bytes a cycle that are a multiprocessor's share
// Parking takes 128 KiB of shared memory's time for a segment, twice that from the second on: 4 to 8 % of 24 stages, less what the other warpgroup hides.
// Predicted, of the matrix units' rate at the clock that the power limit leaves: int4 about 90 % (their own bound), FP8 85 % (L2), bf16 55 % (L2, with a ring
// of two stages), times how full the tiles are: 97 % with 256 rows a group.
#include "cuda/gemm/fp8_by_f16.h"
#include "cuda/gemm/kernels.h"
#include "cuda/gemm/wgmma_consumer.h"
#include "cuda/gemm/wgmma_roles.h"
#include "cuda/launch.h"
#include "cuda/tensor_map.h"

namespace m2::cuda {
namespace {

template <int kShape, class Codec>
__global__ void __launch_bounds__(kWgmmaShapes[kShape].threads(), 1)
gemm_wgmma_kernel([[maybe_unused]] const GemmTask task, [[maybe_unused]] const __grid_constant__ CUtensorMap rows_of_x, [[maybe_unused]] int stages, [[maybe_unused]] int tile_rows) {
#if M2_HOPPER
  work_by_roles<kShape, Codec, WgmmaConsumer<kShape, Codec>>(task, &rows_of_x, stages, tile_rows);
#endif
}

// Rows of x where they are not gathered, or the tokens that they are gathered from.
CUtensorMap map_of(const GemmTask& task) {
  const cuuint64_t rows = task.rows / task.slots, k = task.k;
  return tensor_map<2>(task.x, {CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, {k, rows}, {k * 2}, {kStage, WgmmaShape::kRowUnit}, CU_TENSOR_MAP_SWIZZLE_128B});
}

}  // namespace

void gemm_wgmma(const Machine& m, const GemmTask& task, const GemmPlan& plan) {
  const Launch l{.grid = plan.grid_x, .block = plan.threads, .shared = plan.shared};
  const CUtensorMap map = map_of(task);
  with_codec(task.type, [&](auto codec) {
    using Codec = HopperCodec<decltype(codec)>;
    if (plan.consumers == kWgmmaShapes[0].consumers) return launch<gemm_wgmma_kernel<0, Codec>>(m, l, task, map, plan.stages, plan.tile_rows);
    return launch<gemm_wgmma_kernel<1, Codec>>(m, l, task, map, plan.stages, plan.tile_rows);
  });
}

}  // namespace m2::cuda
