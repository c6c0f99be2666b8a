// The rows of a team: where q comes from, and what becomes of their states, until sums are results.
//
//   end of chunk   its state goes into the span's, which waits in memory; or to memory for the merge kernel, where the row tile is cut at chunks
//   end of span    its state goes into the row's, which waits in memory; or to memory for the merge kernel, where the row tile is cut at spans
#pragma once
#include "core/fp8_rows.h"
#include "cuda/attention/rows.h"
#include "cuda/attention/scratch.h"
#include "cuda/attention/team_types.h"
#include "cuda/float8.h"

namespace m2::cuda {

template <class Team>
using TeamState = State<Team::kOwnDims>;

// One of the lane's rows of q, in pairs.
template <class Team>
__device__ __forceinline__ const uint32_t* row_of_q(const AttentionTask& task, const Unit& unit, int half) {
  const int row = min(Team::first_row(unit) + 8 * half, unit.rows - 1);
  return reinterpret_cast<const uint32_t*>(task.q + unit.place(task, row) * Team::kDim);
}

// The scale of a head of q that is rounded to e4m3, of which its four lanes have the same.
template <int D>
__device__ __forceinline__ float head_scale(const uint32_t* pairs) {
  static_assert(D <= kRowBlock);
  uint32_t largest = 0;
#pragma unroll
  for (int i = 0; i < D / 8; i++) {
    const uint32_t pair = pairs[4 * i + threadIdx.x % 4] & 0x7fff7fff;
    largest = max(largest, max(pair << 16, pair & 0xffff0000));
  }
  largest = max(largest, __shfl_xor_sync(kFullMask, largest, 1));
  largest = max(largest, __shfl_xor_sync(kFullMask, largest, 2));
  return __uint_as_float(row_scale_bits(largest));
}

// put(k, the lane's A of dims 16 k ..). rounds: to e4m3, which are bf16 too
template <class Team, class Put>
__device__ __forceinline__ void load_rows(const AttentionTask& task, const Unit& unit, bool rounds, Put put) {
  const uint32_t* from[2];
  float scale[2] = {1, 1};
#pragma unroll
  for (int half = 0; half < 2; half++) {
    from[half] = row_of_q<Team>(task, unit, half);
    if (rounds) scale[half] = head_scale<Team::kDim>(from[half]);
  }
  const auto pair_at = [&](int half, int i) {
    const uint32_t pair = from[half][i + threadIdx.x % 4] ^ task.flip_sign;
    if (!rounds) return pair;
    const float inverse = __uint_as_float(inverse_scale_bits(__float_as_uint(scale[half])));
    const float2 v = unpack_bf16(pair);
    return pack_bf16(round_to_f8(v.x * inverse) * scale[half], round_to_f8(v.y * inverse) * scale[half]);
  };
#pragma unroll
  for (int k = 0; k < Team::kDim / 16; k++) put(k, uint4{pair_at(0, 8 * k), pair_at(1, 8 * k), pair_at(0, 8 * k + 4), pair_at(1, 8 * k + 4)});
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
