// Attention of prompts on Hopper: TMA, mbarriers and wgmma. For heads of 64 or 128 dims, pages whose rows are boxes, and a cache of bf16 or e4m3 (T: f8 widens it
// to bf16, f8_operand multiplies it as it is).
//
// A block has a row tile of 128 rows: two warpgroups with 64 rows each compute, a third one feeds them (producer.h, consumer.h), a block on each
// multiprocessor. Work is shared out as for the teams' kernels and pieces are theirs (work.h, states.h); so are the bits, if wgmma sums the 16 products of a step
// as mma.sync does. The emulator has them alike, and a GPU has to confirm it.
//
// For each tile of 64 tokens and 128 dims, cycles of a multiprocessor:
//
//                                                                                    bf16   e4m3 widened   e4m3
//   tensor cores   2 x 128 x 64 x 128 products at 2,048 a cycle, of e4m3 at 4,096   1,024          1,024    512
//   shared memory  keys and values for wgmma, which each warpgroup reads all of,
//                  and by TMA; to widen, or to turn values, read and written again    768          1,024    512
//   exponentials   128 x 64 at 16 a cycle                                             512            512    512
//   instructions   of four schedulers; 8 warps, some 220 each, with sums of their own
//                  270; the producer's 1,700 to widen, 240 to turn values             440            860    600
//   L2             TB/s of all multiprocessors together, at 1.755 GHz                 7.4            3.7    7.4
//
// So tensor cores bound bf16, with L2 close behind, and shared memory e4m3 that is widened; e4m3 as it is has four bounds, all near 550 cycles. A warpgroup's
// turn is 512 cycles of products, of e4m3 256, its softmax some 600; as the other's products and its own for values run under that, nothing but the waits
// themselves should be lost. Prediction for one H200 and contexts from 16k tokens: 590 to 630 TFLOP/s of bf16, 60 to 64 % of the peak and 75 to 80 % of the 790 that
// products reach under the power limit; of e4m3 500 to 560 where it is widened, and 850 to 1,000 as it is, 1,090 cycles a tile or half of what the bounds allow:
// nothing has room to hide in. Chunks of 64 tokens (the first 1,024) end with each tile: nothing runs under the softmax but the other warpgroup, and 64 KiB of the
// span's state pass shared memory twice. There it should be half as fast.
//
// Idea: FlashAttention-3 (Shah et al., 2024) has the ping-pong of two warpgroups and the overlap of both products.
#include "cuda/attention/consumer.h"
#include "cuda/attention/kernels.h"
#include "cuda/attention/producer.h"
#include "cuda/launch.h"
#include "cuda/ptx/launch.h"
#include "cuda/tensor_map.h"

namespace m2::cuda {
namespace {

constexpr int kThreads = WarpgroupShape::kThreads;

template <class T, int D>
__global__ void __launch_bounds__(kThreads, 1) warpgroup_attention_kernel(const AttentionTask task, const AttentionScratch scratch, const __grid_constant__ CUtensorMap cache) {
#if M2_HOPPER
  using P = Pipeline<T, D>;
  M2_DYNAMIC_SHARED(shared);
  M2_SHARED(int64_t, sums, [kThreads + 1]);
  M2_SHARED(Job, jobs, [P::kJobs]);
  M2_SHARED(uint64_t, hidden, [P::kSlots][4]);
  M2_SHARED(uint64_t, barriers, [P::kBarriers]);
  ptx::let_next_kernel_start();
  const P p{shared, ptx::shared_address(shared), ptx::shared_address(barriers), hidden, jobs};
  if (threadIdx.x == 0) p.init();
  const Work<kPrefillRows> work(task, gridDim.x, sums);  // meets
  ptx::wait_for_previous_kernel();
  if (threadIdx.x < kConsumerWarps * kWarp) {
    ptx::take_registers<224>();
    consume(task, scratch, p);
  } else {
    ptx::give_registers<56>();
    produce(task, p, work, &cache);
  }
#endif
}

// The cache as a matrix of rows of D elements, in boxes as producer.h has them.
CUtensorMap map_of(const KvCache& kv, bool codes) {
  const bool is_wide = kv.dtype == DType::kBf16;
  const CUtensorMapSwizzle swizzle = is_wide || (codes && kv.head_dim == 128) ? CU_TENSOR_MAP_SWIZZLE_128B : codes ? CU_TENSOR_MAP_SWIZZLE_64B : CU_TENSOR_MAP_SWIZZLE_NONE;
  const cuuint64_t dim = static_cast<cuuint64_t>(kv.head_dim), rows = static_cast<cuuint64_t>(kv.pages * (kv.page_elements() / kv.head_dim));
  const TensorBox<2> box{.type = is_wide ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_UINT8, .sizes = {dim, rows}, .strides = {dim * dtype_bytes(kv.dtype)},
                         .box = {is_wide ? 64 : static_cast<cuuint32_t>(dim), static_cast<cuuint32_t>(std::min<int64_t>(kv.page_size, kTileTokens))},
                         .swizzle = swizzle};
  return tensor_map(kv.data, box);
}

template <class T>
void launch_kernel(const Machine& m, const AttentionTask& task, const AttentionScratch& scratch, const RowsPlan& plan) {
  const Launch l{.grid = plan.blocks, .block = plan.threads, .shared = plan.shared};
  const CUtensorMap cache = map_of(task.kv, std::is_same_v<T, f8_operand>);
  if (task.kv.head_dim == 128) launch<warpgroup_attention_kernel<T, 128>>(m, l, task, scratch, cache);
  else launch<warpgroup_attention_kernel<T, 64>>(m, l, task, scratch, cache);
}

}  // namespace

void warpgroup_attention(const Machine& m, const AttentionTask& task, const AttentionScratch& scratch, const RowsPlan& plan) {
  if (task.kv.dtype == DType::kBf16) launch_kernel<__nv_bfloat16>(m, task, scratch, plan);
  else if (plan.kernel == AttentionKernel::kWarpgroupCodes) launch_kernel<f8_operand>(m, task, scratch, plan);
  else launch_kernel<f8>(m, task, scratch, plan);
}

}  // namespace m2::cuda
