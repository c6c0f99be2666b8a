// Attention of prompts on Hopper: TMA, mbarriers and wgmma. For a cache of bf16 or e4m3 (T), heads of 64 or 128 dims, pages whose rows are boxes.
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
#if defined(M2_EMULATED) || defined(__CUDA_ARCH_FEAT_SM90_ALL)  // what it consists of is Hopper's
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
CUtensorMap map_of(const KvCache& kv) {
  const bool is_wide = kv.dtype == DType::kBf16;
  const cuuint64_t dim = static_cast<cuuint64_t>(kv.head_dim), rows = static_cast<cuuint64_t>(kv.pages * (kv.page_elements() / kv.head_dim));
  const TensorBox<2> box{.type = is_wide ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_UINT8, .sizes = {dim, rows}, .strides = {dim * dtype_bytes(kv.dtype)},
                         .box = {is_wide ? 64 : static_cast<cuuint32_t>(dim), static_cast<cuuint32_t>(std::min<int64_t>(kv.page_size, kTileTokens))},
                         .swizzle = is_wide ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE};
  return tensor_map(kv.data, box);
}

template <class T>
void launch_kernel(const Machine& m, const AttentionTask& task, const AttentionScratch& scratch, const RowsPlan& plan) {
  const Launch l{.grid = plan.blocks, .block = plan.threads, .shared = plan.shared};
  if (task.kv.head_dim == 128) launch<warpgroup_attention_kernel<T, 128>>(m, l, task, scratch, map_of(task.kv));
  else launch<warpgroup_attention_kernel<T, 64>>(m, l, task, scratch, map_of(task.kv));
}

}  // namespace

void warpgroup_attention(const Machine& m, const AttentionTask& task, const AttentionScratch& scratch, const RowsPlan& plan) {
  if (task.kv.dtype == DType::kBf16) launch_kernel<__nv_bfloat16>(m, task, scratch, plan);
  else launch_kernel<f8>(m, task, scratch, plan);
}

}  // namespace m2::cuda
