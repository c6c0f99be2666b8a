// Joins the states of row tiles that were cut. A block has a row at a time: its warps join the chunks of a span each, eight pieces on their way at once, and
// the first warp then joins the spans. It reads (D + 2) 4 bytes for each row and piece, as much as the kernels before it wrote: 4 MB for one sequence of 128k
// tokens with 48 heads. Latency bounds it: a span's pieces are one trip to L2 (the first span's are two), of six spans at once; one sequence of 128k tokens
// has 23, four trips behind each other. Blocks are small enough to begin beside those of the decode kernel, and to find there what is theirs.
#include <algorithm>

#include "cuda/attention/kernels.h"
#include "cuda/attention/states.h"
#include "cuda/launch.h"
#include "cuda/ptx/launch.h"

namespace m2::cuda {
namespace {

constexpr int kThreads = 192, kWarps = kThreads / kWarp, kSpansAtOnce = kWarps, kPiecesAtOnce = 8, kMostRowGroups = 16;

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

// The state of a row over some of its pieces.
template <int D>
__device__ __forceinline__ Own<D> join_pieces(const AttentionScratch& scratch, int border, int row, int first, int end) {
  using Values = typename Own<D>::Values;
  Own<D> state;
  state.clear();
  for (; first < end; first += kPiecesAtOnce) {
    Own<D> next[kPiecesAtOnce];
#pragma unroll
    for (int i = 0; i < kPiecesAtOnce; i++) {
      const int64_t at = scratch.index(border, min(first + i, end - 1), row);
      next[i].o = reinterpret_cast<const Values*>(scratch.o + at * D)[threadIdx.x % kWarp];
      const float2 ml = scratch.ml[at];
      next[i].m = ml.x;
      next[i].l = ml.y;
    }
#pragma unroll
    for (int i = 0; i < kPiecesAtOnce; i++) {
      if (first + i < end) state.take_in(next[i]);
    }
  }
  return state;
}

template <int D>
__device__ __forceinline__ void write_row(const AttentionTask& task, const Unit& unit, int row, const Own<D>& state) {
  constexpr int kOwn = Own<D>::kOwn;
  bool finite = true;
#pragma unroll
  for (int i = 0; i < kOwn; i++) finite = finite && is_finite(state.o.v[i]);
  const float factor = result_factor(__all_sync(kFullMask, finite), state.l) * task.kv.scale(task.layer, 1, unit.kv_head);
  uint32_t* to = reinterpret_cast<uint32_t*>(task.out + unit.place(task, row) * D) + threadIdx.x % kWarp * kOwn / 2;
#pragma unroll
  for (int i = 0; i < kOwn; i += 2) to[i / 2] = pack_bf16(result(state.o.v[i], factor), result(state.o.v[i + 1], factor));
}

// By the whole block. row: of the row tile
template <int D>
__device__ __forceinline__ void merge_row(const AttentionTask& task, const AttentionScratch& scratch, const Job& job, int row) {
  M2_SHARED(typename Own<D>::Values, sums, [kSpansAtOnce][kWarp]);
  M2_SHARED(float2, ml, [kSpansAtOnce]);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, tokens = job.unit.tokens, count = spans(tokens);
  Own<D> total;
  total.clear();
  for (int first = 0; first < count; first += kSpansAtOnce) {
    const int end = min(first + kSpansAtOnce, count);
    for (int s = first + warp; s < end; s += kWarps) {
      const bool of_chunks = job.part.pieces == Pieces::kChunks;
      const int piece = of_chunks ? chunks(span_begin(s)) : s, last = of_chunks ? chunks(min(span_begin(s + 1), tokens)) : s + 1;
      const Own<D> state = join_pieces<D>(scratch, job.part.border, row, piece, last);
      sums[s - first][lane] = state.o;
      if (lane == 0) ml[s - first] = {state.m, state.l};
    }
    __syncthreads();
    for (int s = first; s < end && warp == 0; s++) total.take_in({sums[s - first][lane], ml[s - first].y, ml[s - first].x});
    __syncthreads();
  }
  if (warp == 0) write_row(task, job.unit, job.unit.row + row, total);
}

// The part behind the first border that cuts block x's row tile, or one of no border. Decoding: that of sequence x / KV heads and head x % KV heads. Prompts
// have more row tiles than borders: the one that border x between workers is the first to cut.
template <int kRows>
__device__ __forceinline__ void find_job(const AttentionTask& task, const Work<kRows>& work, Job& job) {
  job.part.border = -1;
  if (work.length() == 0) return;
  int border = blockIdx.x;
  const int heads = static_cast<int>(task.kv.heads);
  if (kRows == kDecodeRows) {
    if (!work.find(blockIdx.x / heads, blockIdx.x % heads, job.unit)) return;
    border = work.border_behind(job.unit);
  }
  const int64_t x = work.begin(border + 1);
  if (kRows != kDecodeRows) job.unit = work.at(x);
  else if (x >= job.unit.end) return;
  job.part = work.part(job.unit, x, job.unit.end);
  if (job.part.border != border) job.part.border = -1;
}

// Block (x, y) has every gridDim.y-th row of a row tile.
template <int D, int kRows>
__global__ void __launch_bounds__(kThreads, 2) merge_kernel(const AttentionTask task, const AttentionScratch scratch, int workers) {
  M2_SHARED(int64_t, sums, [kThreads + 1]);
  M2_SHARED(Job, jobs, [1]);
  ptx::let_next_kernel_start();
  const Work<kRows> work(task, workers, sums);
  const Job& job = jobs[0];
  if (threadIdx.x == 0) find_job(task, work, jobs[0]);
  __syncthreads();
  // Blocks without work go at once. But one waits in any case, for those who wait for this kernel and with it for the one before.
  const bool works = job.part.border >= 0;
  if (works || blockIdx.x == 0) ptx::wait_for_previous_kernel();
  if (!works) return;
  for (int row = blockIdx.y, rows = min(kRows, job.unit.rows - job.unit.row); row < rows; row += gridDim.y) merge_row<D>(task, scratch, job, row);
}

template <int D>
void merge_of(const Machine& m, const AttentionTask& task, const AttentionScratch& scratch, const RowsPlan& plan, int rows) {
  const unsigned tiles = rows == kDecodeRows ? static_cast<unsigned>(task.sequences * task.kv.heads) : static_cast<unsigned>(plan.workers - 1);
  const Launch l{.grid = dim3(tiles, std::min(plan.rows, kMostRowGroups)), .block = kThreads};
  if (rows == kDecodeRows) launch<merge_kernel<D, kDecodeRows>>(m, l, task, scratch, plan.workers);
  else launch<merge_kernel<D, kPrefillRows>>(m, l, task, scratch, plan.workers);
}

}  // namespace

void merge_attention(const Machine& m, const AttentionTask& task, const AttentionScratch& scratch, const RowsPlan& plan, int rows) {
  if (plan.workers == 1) return;
  if (task.kv.head_dim == 128) merge_of<128>(m, task, scratch, plan, rows);
  else merge_of<64>(m, task, scratch, plan, rows);
}

}  // namespace m2::cuda
