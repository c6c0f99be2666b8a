// Attention of prompts on Hopper: TMA, mbarriers and wgmma. For a cache of bf16 or e4m3 (T), heads of 64 or 128 dims, pages whose rows are boxes.
//
// A block has a row tile of 128 rows: two warpgroups with 64 rows each compute, a third one feeds them (producer.h, consumer.h), a block on each
// multiprocessor. Work is shared out as for the mma kernels and pieces are theirs (work.h, states.h); so are the bits, if wgmma sums the 16 products of a step
// as mma.sync does. The emulator has them alike, and a GPU has to confirm it.
//
// For each tile of 64 tokens and 128 dims, by multiprocessor:
//
//   tensor cores   2 x 128 x 64 x 128 products at 2,048 a cycle                                         1,024 cycles
//   shared memory  64 KiB of keys and values for wgmma (each warpgroup reads all), 32 KiB by TMA          768 cycles of 128 bytes
//                  of e4m3: 16 KiB by TMA and read again, 32 KiB written                                1,024
//   exponentials   128 x 64 at 16 a cycle                                                                 512 cycles
//   instructions   8 warps, some 220 each, on four schedulers; of e4m3 1,700 more to widen                440 cycles, 860
//   L2             32 KiB, of e4m3 16: all multiprocessors together 7.4 TB/s at 1.755 GHz, 3.7
//
// So tensor cores bound it, of bf16 with L2 close behind, of e4m3 with shared memory. A warpgroup's turn is 512 cycles of products, its softmax some 600; as
// the other's products and its own for values run under that, nothing but the waits themselves should be lost. Prediction for one H200 and contexts from 16k
// tokens: 590 to 630 TFLOP/s of bf16, 60 to 64 % of the peak and 75 to 80 % of the 790 that products reach under the power limit; of e4m3 500 to 560. Chunks
// of 64 tokens (the first 1,024) end with each tile: nothing runs under the softmax but the other warpgroup, and 64 KiB of the span's state pass shared memory
// twice. There it should be half as fast.
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
