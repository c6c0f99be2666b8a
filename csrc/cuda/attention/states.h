// The rows of a team: where q comes from, and what becomes of their states, until sums are results.
//
//   end of chunk   its state goes into the span's, which waits in memory; or to memory for the merge kernel, where the row tile is cut at chunks
//   end of span    its state goes into the row's, which waits in memory; or to memory for the merge kernel, where the row tile is cut at spans
#pragma once
#include "cuda/attention/rows.h"
#include "cuda/attention/scratch.h"
#include "cuda/attention/team_types.h"

namespace m2::cuda {

template <class Team>
using TeamState = State<Team::kOwnDims>;

// put(k, the lane's A of dims 16 k ..)
template <class Team, class Put>
__device__ __forceinline__ void load_rows(const AttentionTask& task, const Unit& unit, Put put) {
  const uint32_t* from[2];
  for (int half = 0; half < 2; half++) {
    const int row = min(Team::first_row(unit) + 8 * half, unit.rows - 1);
    from[half] = reinterpret_cast<const uint32_t*>(task.q + unit.place(task, row) * Team::kDim) + threadIdx.x % 4;
  }
#pragma unroll
  for (int k = 0; k < Team::kDim / 16; k++) {
    const int i = 8 * k;
    put(k, uint4{from[0][i] ^ task.flip_sign, from[1][i] ^ task.flip_sign, from[0][i + 4] ^ task.flip_sign, from[1][i + 4] ^ task.flip_sign});
  }
}

template <class Team>
__device__ __forceinline__ void write_rows(const AttentionTask& task, const Unit& unit, const TeamState<Team>& state) {
  const int lane = threadIdx.x % kWarp;
  uint64_t finite = 0;  // bits of lanes, for each half
#pragma unroll
  for (int half = 0; half < 2; half++) {
    bool own = true;
#pragma unroll
    for (int i = 2 * half; i < Team::kOwnDims / 2; i += 4) own = own && is_finite(state.o[i]) && is_finite(state.o[i + 1]);
    finite |= uint64_t{__ballot_sync(kFullMask, own)} << half * kWarp;
  }
  finite = Team::all(finite) >> lane / 4 * 4;  // the row's four lanes first
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const float factor = result_factor((finite >> half * kWarp & 15) == 15, state.l[half]) * task.kv.scale(task.layer, 1, unit.kv_head);
    const int row = Team::first_row(unit) + 8 * half;
    if (row >= unit.rows) continue;
    uint32_t* to = reinterpret_cast<uint32_t*>(task.out + unit.place(task, row) * Team::kDim + Team::first_dim()) + lane % 4;
#pragma unroll
    for (int i = 2 * half; i < Team::kOwnDims / 2; i += 4) to[i - 2 * half] = pack_bf16(result(state.o[i], factor), result(state.o[i + 1], factor));
  }
}

template <class Team>
__device__ __forceinline__ void write_piece(const AttentionScratch& scratch, const Job& job, int piece, const TeamState<Team>& state) {
  const int t = threadIdx.x % 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = Team::first_row(job.unit) + 8 * half;
    if (row >= job.unit.rows) continue;
    const int64_t at = scratch.index(job.part.border, piece, row - job.unit.row);
    float2* to = reinterpret_cast<float2*>(scratch.o + at * Team::kDim + Team::first_dim()) + t;
#pragma unroll
    for (int i = 2 * half; i < Team::kOwnDims / 2; i += 4) to[i - 2 * half] = {state.o[i], state.o[i + 1]};
    if (t == 0 && Team::first_dim() == 0) scratch.ml[at] = {state.m[half], state.l[half]};
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

// The lane's part of the states that wait in memory: every kWarp-th float4 of kOwnDims / 8 + 1. teams: of a block
template <class Team>
__device__ __forceinline__ float4* row_waiting(const AttentionScratch& scratch, int teams) {
  const int warp = (blockIdx.x * teams + Team::index()) * Team::kWarps + Team::warp();
  return scratch.waiting + warp * 2 * (Team::kOwnDims / 8 + 1) * kWarp + threadIdx.x % kWarp;
}
template <class Team>
__device__ __forceinline__ float4* span_waiting(const AttentionScratch& scratch, int teams) {
  return row_waiting<Team>(scratch, teams) + (Team::kOwnDims / 8 + 1) * kWarp;
}

// `state` is that of a chunk, which ends at token `end` or with the part. row, span: where the states of those wait. in_span: whether chunks of the span do.
template <class Team>
__device__ __forceinline__ void end_chunk(const AttentionTask& task, const AttentionScratch& scratch, const Job& job, int end, float4* row, float4* span, bool& in_span,
                                          TeamState<Team>& state) {
  const bool is_last = end >= job.part.end, is_cut = job.part.border >= 0;
  state.complete();
  if (is_cut && job.part.pieces == Pieces::kChunks) return write_piece<Team>(scratch, job, chunks(end) - 1, state);
  if (in_span) join_state(span, state);
  in_span = !is_last && !ends_span(end);
  if (in_span) return keep_state(span, state);
  if (is_cut) return write_piece<Team>(scratch, job, spans(end) - 1, state);
  if (spans(end) > 1) join_state(row, state);
  if (is_last) write_rows<Team>(task, job.unit, state);
  else keep_state(row, state);
}

}  // namespace m2::cuda
