// Joins the states of row tiles that were cut: a warp per row, eight states on their way at once. It reads (D + 2) 4 bytes for each row and piece, as much as
// the kernels before it wrote. What bounds it is its launch.
#include "cuda/attention/kernels.h"
#include "cuda/attention/states.h"
#include "cuda/launch.h"
#include "cuda/ptx/launch.h"

namespace m2::cuda {
namespace {

constexpr int kThreads = 128, kRowsAtOnce = kThreads / kWarp;

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
__global__ void __launch_bounds__(kThreads) merge_kernel(const AttentionTask task, const AttentionScratch scratch, int workers) {
  M2_SHARED(int64_t, sums, [kThreads + 1]);
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
  constexpr int kWarps = kThreads / kWarp;
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

template <int D>
void merge_of(const Machine& m, const AttentionTask& task, const AttentionScratch& scratch, const RowsPlan& plan, int rows) {
  const Launch l{.grid = dim3(plan.workers - 1, (plan.rows + kRowsAtOnce - 1) / kRowsAtOnce), .block = kThreads};
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
