// The rows of a team: where q comes from, and what becomes of their states, until sums are results.
//
//   end of chunk   its state goes into the span's, which waits in memory; or to memory for the merge kernel, where the row tile is cut at chunks
//   end of span    its state goes into the row's, which waits in memory; or to memory for the merge kernel, where the row tile is cut at spans
#pragma once
#include "cuda/attention/rows.h"
#include "cuda/attention/scratch.h"
#include "cuda/attention/work.h"

namespace m2::cuda {

// A team is kWarps warps with 16 rows each: the first of a block, or one alone.
template <int kWarps>
__device__ __forceinline__ int warp_of_team() {
  return kWarps == 1 ? 0 : threadIdx.x / kWarp;
}

// What a team is at, in shared memory: registers are short.
struct Job {
  Unit unit;
  Part part;
};

// A lane's rows of the sequence are first and first + 8. Those behind the last are computed as if they were the last, and not written.
template <int kWarps>
__device__ __forceinline__ int first_row(const Unit& unit) {
  return unit.row + 16 * warp_of_team<kWarps>() + threadIdx.x % kWarp / 4;
}

// put(k, the lane's A of dims 16 k ..)
template <int D, int kWarps, class Put>
__device__ __forceinline__ void load_rows(const AttentionTask& task, const Unit& unit, Put put) {
  const uint32_t* from[2];
  for (int half = 0; half < 2; half++) {
    const int row = min(first_row<kWarps>(unit) + 8 * half, unit.rows - 1);
    from[half] = reinterpret_cast<const uint32_t*>(task.q + unit.place(task, row) * D) + threadIdx.x % 4;
  }
#pragma unroll
  for (int k = 0; k < D / 16; k++) {
    const int i = 8 * k;
    put(k, uint4{from[0][i] ^ task.flip_sign, from[1][i] ^ task.flip_sign, from[0][i + 4] ^ task.flip_sign, from[1][i + 4] ^ task.flip_sign});
  }
}

template <int D, int kWarps>
__device__ __forceinline__ void write_rows(const AttentionTask& task, const Unit& unit, const State<D>& state) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    bool finite = true;
#pragma unroll
    for (int n = 0; n < D / 8; n++) finite = finite && is_finite(state.o[4 * n + 2 * half]) && is_finite(state.o[4 * n + 2 * half + 1]);
    const unsigned others = __ballot_sync(kFullMask, finite) >> lane / 4 * 4 & 15;  // the row's four lanes
    const float factor = result_factor(others == 15, state.l[half]) * task.kv.scale(task.layer, 1, unit.kv_head);
    const int row = first_row<kWarps>(unit) + 8 * half;
    if (row >= unit.rows) continue;
    uint32_t* to = reinterpret_cast<uint32_t*>(task.out + unit.place(task, row) * D) + lane % 4;
#pragma unroll
    for (int n = 0; n < D / 8; n++) to[4 * n] = pack_bf16(result(state.o[4 * n + 2 * half], factor), result(state.o[4 * n + 2 * half + 1], factor));
  }
}

template <int D, int kWarps>
__device__ __forceinline__ void write_piece(const AttentionScratch& scratch, const Job& job, int piece, const State<D>& state) {
  const int t = threadIdx.x % 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = first_row<kWarps>(job.unit) + 8 * half;
    if (row >= job.unit.rows) continue;
    const int64_t at = scratch.index(job.part.border, piece, row - job.unit.row);
    float2* to = reinterpret_cast<float2*>(scratch.o + at * D) + t;
#pragma unroll
    for (int n = 0; n < D / 8; n++) to[4 * n] = {state.o[4 * n + 2 * half], state.o[4 * n + 2 * half + 1]};
    if (t == 0) scratch.ml[at] = {state.m[half], state.l[half]};
  }
}

template <int D>
__device__ __forceinline__ void keep_state(float4* to, const State<D>& state) {
#pragma unroll
  for (int n = 0; n < D / 8; n++) to[n * kWarp] = {state.o[4 * n], state.o[4 * n + 1], state.o[4 * n + 2], state.o[4 * n + 3]};
  to[D / 8 * kWarp] = {state.m[0], state.m[1], state.l[0], state.l[1]};
}
// A state that was kept takes in the next one, which becomes the sum.
template <int D>
__device__ __forceinline__ void join_state(const float4* before, State<D>& next) {
  const float4 ml = before[D / 8 * kWarp];
  const Join join[2] = {{ml.x, next.m[0]}, {ml.y, next.m[1]}};
  next.m[0] = join[0].m;
  next.m[1] = join[1].m;
  next.l[0] = join[0](ml.z, next.l[0]);
  next.l[1] = join[1](ml.w, next.l[1]);
#pragma unroll
  for (int n = 0; n < D / 8; n++) {
    const float4 o = before[n * kWarp];
    next.o[4 * n] = join[0](o.x, next.o[4 * n]);
    next.o[4 * n + 1] = join[0](o.y, next.o[4 * n + 1]);
    next.o[4 * n + 2] = join[1](o.z, next.o[4 * n + 2]);
    next.o[4 * n + 3] = join[1](o.w, next.o[4 * n + 3]);
  }
}

// The lane's part of the states that wait in memory: every kWarp-th float4 of D / 8 + 1.
template <int D, int kWarps>
__device__ __forceinline__ float4* row_waiting(const AttentionScratch& scratch) {
  const int warps = kWarps == 1 ? blockDim.x / kWarp : kWarps, warp = blockIdx.x * warps + threadIdx.x / kWarp;
  return scratch.waiting + warp * 2 * (D / 8 + 1) * kWarp + threadIdx.x % kWarp;
}
template <int D, int kWarps>
__device__ __forceinline__ float4* span_waiting(const AttentionScratch& scratch) {
  return row_waiting<D, kWarps>(scratch) + (D / 8 + 1) * kWarp;
}

// `state` is that of a chunk, which ends at token `end` or with the part. in_span: whether chunks of its span wait in `span`.
template <int D, int kWarps>
__device__ __forceinline__ void end_chunk(const AttentionTask& task, const AttentionScratch& scratch, const Job& job, int end, float4* span, bool& in_span, State<D>& state) {
  const bool is_last = end >= job.part.end, is_cut = job.part.border >= 0;
  state.complete();
  if (is_cut && job.part.pieces == Pieces::kChunks) return write_piece<D, kWarps>(scratch, job, chunks(end) - 1, state);
  if (in_span) join_state(span, state);
  in_span = !is_last && !ends_span(end);
  if (in_span) return keep_state(span, state);
  if (is_cut) return write_piece<D, kWarps>(scratch, job, spans(end) - 1, state);
  float4* row = row_waiting<D, kWarps>(scratch);
  if (spans(end) > 1) join_state(row, state);
  if (is_last) write_rows<D, kWarps>(task, job.unit, state);
  else keep_state(row, state);
}

}  // namespace m2::cuda
