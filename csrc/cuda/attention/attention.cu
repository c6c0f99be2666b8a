// Attention. The kernels here are for a cache of bf16 or e4m3 (T) and heads of 64 or 128 dims; general.cu has the rest. work.h says how the work is shared
// out, order.h in which order a row is summed, team.h and rows.h how.
//
//   attention_kernel<T, D, 1>  decoding: a team is a warp with a row tile of 16, a block has up to four
//   attention_kernel<T, D, 8>  prompts: a team is a block with a row tile of 128
//   merge_kernel<D, rows>      joins the states of row tiles that were cut: a warp per row, eight states on their way at once
//
// One block per multiprocessor. Each row tile reads its K and V once: for decoding that is all there is to read, prompts read it once per 128 rows, mostly
// from L2. A cut row tile also writes and reads (D + 2) 4 bytes for each row and piece.
#include <algorithm>
#include <cmath>

#include "cuda/attention/general.h"
#include "cuda/attention/team.h"
#include "cuda/launch.h"
#include "cuda/launchers.h"
#include "cuda/ptx/launch.h"

namespace m2::cuda {
namespace {

constexpr int kDecodeTeams = 4, kPrefillWarps = 8, kMergeThreads = 128;
constexpr int64_t kMostContext = int64_t{1} << 30;

template <int kWarps>
constexpr int kMostThreads = kWarp * (kWarps == 1 ? kDecodeTeams : kWarps);

template <class T, int D, int kWarps>
__global__ void __launch_bounds__(kMostThreads<kWarps>, 1) attention_kernel(const AttentionTask task, const AttentionScratch scratch) {
  M2_SHARED(int64_t, sums, [kMostThreads<kWarps> + 1]);
  M2_SHARED(Job, jobs, [kMostThreads<kWarps> / kWarp / kWarps]);
  ptx::let_next_kernel_start();
  const int teams = blockDim.x / kWarp / kWarps, team = threadIdx.x / kWarp / kWarps, worker = blockIdx.x * teams + team;
  const Work<16 * kWarps> work(task, gridDim.x * teams, sums);
  Job& job = jobs[team];
  const auto find_job = [&](int64_t x) {
    const int64_t end = work.begin(worker + 1);
    if (x >= end || threadIdx.x % (kWarps * kWarp) != 0) return;
    job.unit = work.at(x);
    job.part = work.part(job.unit, x, end);
  };
  int64_t x = work.begin(worker);
  find_job(x);
  ptx::wait_for_previous_kernel();
  while (x < work.begin(worker + 1)) {
    meet<kWarps>();  // the job is there
    if (job.part.first < job.part.end) attend<T, D, kWarps>(task, scratch, job);
    x = job.unit.end;
    meet<kWarps>();  // nobody is at it any more, nor at its tiles
    find_job(x);
  }
}

// Lanes have kOwn dims each of a row.
template <int D>
struct Own {
  static constexpr int kOwn = D / kWarp;
  struct alignas(kOwn * 4) Values {
    float v[kOwn];
  };
  Values o;
  float l, m;

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < kOwn; i++) o.v[i] = 0;
    l = 0;
    m = -kInfinity;
  }
  __device__ __forceinline__ void take_in(const Own& next) {
    const Join join(m, next.m);
    m = join.m;
    l = join(l, next.l);
#pragma unroll
    for (int i = 0; i < kOwn; i++) o.v[i] = join(o.v[i], next.o.v[i]);
  }
};

// The state of row `row` of a row tile from those of its pieces.
template <int D>
__device__ __forceinline__ Own<D> join_pieces(const AttentionScratch& scratch, int border, int row, int tokens, Pieces kind) {
  constexpr int kAtOnce = 8;
  const int pieces = kind == Pieces::kSpans ? spans(tokens) : chunks(tokens);
  using Values = typename Own<D>::Values;
  Own<D> span, total;
  span.clear();
  total.clear();
  int end = 0;  // tokens so far, where pieces are chunks
  for (int first = 0; first < pieces; first += kAtOnce) {
    Own<D> next[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; i++) {
      const int64_t at = scratch.index(border, min(first + i, pieces - 1), row);
      next[i].o = reinterpret_cast<const Values*>(scratch.o + at * D)[threadIdx.x % kWarp];
      const float2 ml = scratch.ml[at];
      next[i].m = ml.x;
      next[i].l = ml.y;
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; i++) {
      if (first + i >= pieces) break;
      span.take_in(next[i]);
      end += chunk_size(end);
      if (kind == Pieces::kChunks && !ends_span(end) && first + i + 1 < pieces) continue;
      total.take_in(span);
      span.clear();
    }
  }
  return total;
}

// Block (b, y) has every gridDim.y-th four rows of the row tile that border b between workers is the first to cut.
template <int D, int kRows>
__global__ void __launch_bounds__(kMergeThreads) merge_kernel(const AttentionTask task, const AttentionScratch scratch, int workers) {
  M2_SHARED(int64_t, sums, [kMergeThreads + 1]);
  M2_SHARED(Job, jobs, [1]);
  ptx::let_next_kernel_start();
  const Work<kRows> work(task, workers, sums);
  const Job& job = jobs[0];
  const int border = blockIdx.x;
  if (threadIdx.x == 0) {
    jobs[0].part.border = -1;
    if (work.length() > 0) {
      const int64_t x = work.begin(border + 1);
      jobs[0].unit = work.at(x);
      jobs[0].part = work.part(job.unit, x, job.unit.end);
    }
  }
  __syncthreads();
  // Blocks without work go at once. But one waits in any case, for those who wait for this kernel and with it for the one before.
  const bool works = job.part.border == border;
  if (works || border == 0) ptx::wait_for_previous_kernel();
  if (!works) return;
  constexpr int kWarps = kMergeThreads / kWarp;
  const int lane = threadIdx.x % kWarp, rows = min(kRows, job.unit.rows - job.unit.row);
  for (int row = blockIdx.y * kWarps + threadIdx.x / kWarp; row < rows; row += gridDim.y * kWarps) {
    const Own<D> state = join_pieces<D>(scratch, border, row, job.unit.tokens, job.part.pieces);
    bool finite = true;
#pragma unroll
    for (int i = 0; i < Own<D>::kOwn; i++) finite = finite && is_finite(state.o.v[i]);
    const float factor = result_factor(__all_sync(kFullMask, finite), state.l) * task.kv.scale(task.layer, 1, job.unit.kv_head);
    uint32_t* to = reinterpret_cast<uint32_t*>(task.out + job.unit.place(task, job.unit.row + row) * D) + lane * Own<D>::kOwn / 2;
#pragma unroll
    for (int i = 0; i < Own<D>::kOwn; i += 2) to[i / 2] = pack_bf16(result(state.o.v[i], factor), result(state.o.v[i + 1], factor));
  }
}

// How the kernels of a call are launched.
struct Plan {
  unsigned blocks, threads;
  int workers, warps;  // warps of a team
  size_t shared;
  int room, rows;      // of AttentionScratch

  size_t waiting_bytes(int64_t dim) const { return static_cast<size_t>(workers) * warps * 2 * (dim / 8 + 1) * kWarp * sizeof(float4); }
  int64_t states() const { return static_cast<int64_t>(workers - 1) * room * rows; }
  size_t scratch_bytes(int64_t dim) const { return waiting_bytes(dim) + states() * (dim * sizeof(float) + sizeof(float2)); }
};

// shared: bytes of a team
Plan decode_plan(const Machine& m, int shared, int64_t group, int64_t max_queries, int64_t max_context) {
  const int teams = std::min(kDecodeTeams, static_cast<int>((m.shared_per_block() - 4096) / shared)), workers = m.multiprocessors() * teams;
  return {.blocks = static_cast<unsigned>(m.multiprocessors()), .threads = static_cast<unsigned>(teams * kWarp), .workers = workers, .warps = 1,
          .shared = static_cast<size_t>(teams) * shared, .room = std::max(Work<kDecodeRows>::kSlots, spans(static_cast<int>(max_context))),
          .rows = static_cast<int>(std::min(kDecodeRows / group, max_queries) * group)};
}
Plan prefill_plan(const Machine& m, int shared, int64_t max_context) {
  return {.blocks = static_cast<unsigned>(m.multiprocessors()), .threads = kPrefillWarps * kWarp, .workers = m.multiprocessors(), .warps = kPrefillWarps,
          .shared = static_cast<size_t>(shared), .room = std::max(Work<kPrefillRows>::kSlots, spans(static_cast<int>(max_context))), .rows = kPrefillRows};
}

bool has_kernels(int64_t dim) { return dim == 64 || dim == 128; }

template <class T, int D, int kWarps>
void launch_teams(const Machine& m, const AttentionTask& task, const Plan& plan) {
  constexpr int kRows = 16 * kWarps;
  char* memory = static_cast<char*>(m.scratch(plan.scratch_bytes(D)));
  float* o = reinterpret_cast<float*>(memory + plan.waiting_bytes(D));
  const AttentionScratch scratch{reinterpret_cast<float4*>(memory), o, reinterpret_cast<float2*>(o + plan.states() * D), plan.room, plan.rows};
  launch<attention_kernel<T, D, kWarps>>(m, {.grid = plan.blocks, .block = plan.threads, .shared = plan.shared}, task, scratch);
  if (plan.workers == 1) return;
  const unsigned row_groups = static_cast<unsigned>((plan.rows + kMergeThreads / kWarp - 1) / (kMergeThreads / kWarp));
  launch<merge_kernel<D, kRows>>(m, {.grid = dim3(plan.workers - 1, row_groups), .block = kMergeThreads}, task, scratch, plan.workers);
}

template <class T, int D>
void attention_of(const Machine& m, const AttentionArgs& a, const AttentionTask& task) {
  const int64_t max_context = std::min<int64_t>(a.page_tables.size(1) * a.kv.page_size, kMostContext);
  if (task.group <= kDecodeRows) launch_teams<T, D, 1>(m, task, decode_plan(m, team_bytes(D, sizeof(T), 1), task.group, a.max_queries, max_context));
  if (a.max_queries * task.group > kDecodeRows) launch_teams<T, D, kPrefillWarps>(m, task, prefill_plan(m, team_bytes(D, sizeof(T), kPrefillWarps), max_context));
}

}  // namespace

size_t attention_scratch(const Machine& m, const Workload& w) {
  if (!has_kernels(w.head_dim)) return 0;
  const int64_t group = w.heads / w.kv_heads, context = w.max_context + 1024;  // as page tables have it: whole pages
  const int dim = static_cast<int>(w.head_dim), team = std::min(team_bytes(dim, 1, 1), team_bytes(dim, 2, 1));  // the smaller one lets more teams work
  const size_t decode = group <= kDecodeRows ? decode_plan(m, team, group, kDecodeRows, context).scratch_bytes(w.head_dim) : 0;
  return std::max(decode, prefill_plan(m, 0, context).scratch_bytes(w.head_dim));
}

void attention(const Machine& m, const AttentionArgs& a) {
  if (a.rows.size(0) == 0 || a.max_queries == 0) return;
  const int64_t dim = a.q.size(2), heads = a.q.size(1);
  const float scale = std::clamp(std::fabs(a.scale) * 1.44269504f, std::numeric_limits<float>::min(), std::numeric_limits<float>::max());  // 0 would make NaN of -inf
  const AttentionTask task{bf16_data(a.q.data), bf16_data(a.out.data), a.kv, static_cast<int>(a.layer), a.page_tables.as<int32_t>(), a.rows.as<int32_t>(),
                           a.cu_seqlens_q.as<int32_t>(), a.context_lens.as<int32_t>(), static_cast<int>(a.page_tables.size(1)), static_cast<int>(a.rows.size(0)),
                           static_cast<int>(heads), static_cast<int>(heads / a.kv.heads), scale, std::signbit(a.scale) ? 0x80008000u : 0};
  const bool few_rows = a.kv.pages * (a.kv.page_elements() / dim) <= std::numeric_limits<uint32_t>::max();
  if (a.kv.dtype == DType::kF32 || !has_kernels(dim) || !few_rows) return general_attention(m, task, a.kv.dtype, a.q.size(0));
  const auto run = [&](auto element) {
    using T = decltype(element);
    if (dim == 128) attention_of<T, 128>(m, a, task);
    else attention_of<T, 64>(m, a, task);
  };
  if (a.kv.dtype == DType::kBf16) run(__nv_bfloat16());
  else run(f8());
}

}  // namespace m2::cuda
