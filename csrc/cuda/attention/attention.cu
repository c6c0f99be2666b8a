// Attention: work.h says how the work is shared out, order.h in which order a row is summed, plan.h which kernels a call takes.
#include <algorithm>
#include <cmath>

#include "cuda/attention/kernels.h"
#include "cuda/launchers.h"
#include "cuda/vectors.h"

namespace m2::cuda {
namespace {

constexpr int64_t kMostContext = int64_t{1} << 30;

AttentionDevice device_of(const Machine& m) { return {m.architecture(), m.multiprocessors(), m.shared_per_block()}; }

void run_rows(const Machine& m, const AttentionTask& task, const RowsPlan& plan, int rows) {
  if (plan.kernel == AttentionKernel::kNone) return;
  const int64_t dim = task.kv.head_dim;
  char* memory = static_cast<char*>(m.scratch(plan.scratch_bytes(dim)));
  float* o = reinterpret_cast<float*>(memory + plan.waiting_bytes(dim));
  const AttentionScratch scratch{reinterpret_cast<float4*>(memory), o, reinterpret_cast<float2*>(o + plan.states() * dim), plan.room, plan.rows};
  if (plan.kernel == AttentionKernel::kWarpgroups || plan.kernel == AttentionKernel::kWarpgroupCodes) warpgroup_attention(m, task, scratch, plan);
  else team_attention(m, task, scratch, plan, rows);
  merge_attention(m, task, scratch, plan, rows);
}

}  // namespace

size_t attention_scratch(const Machine& m, const Workload& w) {
  AttentionShape shape{.heads = w.heads, .kv_heads = w.kv_heads, .dim = w.head_dim, .element_bytes = 1, .page_size = 64, .cache_rows = 0, .max_queries = kPrefillRows,
                       .max_context = w.max_context + 1024};  // as page tables have it: whole pages
  size_t bytes = 0;
  for (const auto& [element_bytes, rounds] : {std::pair(2, false), std::pair(1, false), std::pair(1, true)}) {
    shape.element_bytes = element_bytes;
    shape.rounds = rounds;
    const AttentionPlan plan = plan_attention(device_of(m), shape);
    bytes = std::max({bytes, plan.decode.scratch_bytes(w.head_dim), plan.prefill.scratch_bytes(w.head_dim)});
  }
  return bytes;
}

void attention(const Machine& m, const AttentionArgs& a) {
  if (a.rows.size(0) == 0 || a.max_queries == 0) return;
  const int64_t dim = a.q.size(2), heads = a.q.size(1);
  const float scale = std::clamp(std::fabs(a.scale) * 1.44269504f, std::numeric_limits<float>::min(), std::numeric_limits<float>::max());  // 0 would make NaN of -inf
  const AttentionTask task{bf16_data(a.q.data), bf16_data(a.out.data), a.kv, static_cast<int>(a.layer), a.page_tables.as<int32_t>(), a.rows.as<int32_t>(),
                           a.cu_seqlens_q.as<int32_t>(), a.context_lens.as<int32_t>(), static_cast<int>(a.page_tables.size(1)), static_cast<int>(a.rows.size(0)),
                           static_cast<int>(heads), static_cast<int>(heads / a.kv.heads), scale, std::signbit(a.scale) ? 0x80008000u : 0, a.rounds};
  const AttentionShape shape{.heads = heads, .kv_heads = a.kv.heads, .dim = dim, .element_bytes = static_cast<int64_t>(dtype_bytes(a.kv.dtype)),
                             .page_size = a.kv.page_size, .cache_rows = a.kv.pages * (a.kv.page_elements() / dim), .max_queries = a.max_queries,
                             .max_context = std::min<int64_t>(a.page_tables.size(1) * a.kv.page_size, kMostContext), .rounds = a.rounds};
  const AttentionPlan plan = plan_attention(device_of(m), shape);
  if (plan.decode.kernel == AttentionKernel::kGeneral) return general_attention(m, task, a.q.size(0));
  run_rows(m, task, plan.decode, kDecodeRows);
  run_rows(m, task, plan.prefill, kPrefillRows);
}

}  // namespace m2::cuda
