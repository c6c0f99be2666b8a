// What a team of kWarps warps, with 16 rows each, does with its part of a row tile's context. The team's shared memory has a ring of slots for keys and
// values, of which one is in use and the others are on their way; of e4m3 behind them one of bf16, which is the one in use; then q.
//
//   end of chunk   its state goes into the span's, which waits in memory; or to memory for the merge kernel, where the row tile is cut at chunks
//   end of span    its state goes into the row's, which waits in memory; or to memory for the merge kernel, where the row tile is cut at spans
//
// What waits in memory is in L1 or L2, 2 x 16 bytes for each lane and 8 dims; decoding cuts at chunks all but the longest work, and so has it seldom.
#pragma once
#include "cuda/attention/reader.h"
#include "cuda/attention/scratch.h"

namespace m2::cuda {

constexpr int slots_of(int element_bytes) { return element_bytes == 1 ? 4 : 3; }
constexpr int slots_bytes(int dim, int element_bytes) { return slots_of(element_bytes) * slot_bytes(dim, element_bytes) + (element_bytes == 1 ? slot_bytes(dim, 2) : 0); }
constexpr int team_bytes(int dim, int element_bytes, int warps) { return slots_bytes(dim, element_bytes) + warps * 16 * dim * 2; }

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

// to: as score_tile reads it
template <int D, int kWarps>
__device__ __forceinline__ void load_rows(const AttentionTask& task, const Unit& unit, uint4* to) {
  const uint32_t* from[2];
  for (int half = 0; half < 2; half++) {
    const int row = min(first_row<kWarps>(unit) + 8 * half, unit.rows - 1);
    from[half] = reinterpret_cast<const uint32_t*>(task.q + unit.place(task, row) * D) + threadIdx.x % 4;
  }
#pragma unroll
  for (int k = 0; k < 8 * D / 16; k += 8) {
    to[k / 8 * kWarp] = {from[0][k] ^ task.flip_sign, from[1][k] ^ task.flip_sign, from[0][k + 4] ^ task.flip_sign, from[1][k + 4] ^ task.flip_sign};
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

// The lane's part of a state that waits, every kWarp-th float4 of D / 8 + 1.
template <int D>
__device__ __forceinline__ float4* waiting(const AttentionScratch& scratch, Waiting which) {
  const int warp = blockIdx.x * (blockDim.x / kWarp) + threadIdx.x / kWarp;
  return scratch.waiting + (2 * warp + static_cast<int>(which)) * (D / 8 + 1) * kWarp + threadIdx.x % kWarp;
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

template <class T, int D, int kWarps>
__device__ __forceinline__ void attend(const AttentionTask& task, const AttentionScratch& scratch, const Job& job) {
  M2_DYNAMIC_SHARED(shared);
  constexpr int kSlots = slots_of(sizeof(T));
  uint8_t* slots = shared + (kWarps == 1 ? threadIdx.x / kWarp : 0) * team_bytes(D, sizeof(T), kWarps);
  uint4* q = reinterpret_cast<uint4*>(slots + slots_bytes(D, sizeof(T))) + warp_of_team<kWarps>() * (D / 16) * kWarp + threadIdx.x % kWarp;
  const Unit& unit = job.unit;
  SlotReader<T, D, kWarps, kSlots> reader(task, unit, job.part.first, job.part.end, slots);
  load_rows<D, kWarps>(task, unit, q);
  const auto next_slot = [&] {
    uint8_t* slot = reader.next();
    if constexpr (sizeof(T) == 1) {
      uint8_t* wide = slots + kSlots * slot_bytes(D, 1);
      widen_slot<D, kWarps>(slot, wide);
      meet<kWarps>();  // it is there
      return wide;
    }
    return slot;
  };

  const int warp_row = unit.row + 16 * warp_of_team<kWarps>();
  const int seen = warp_row < unit.rows ? unit.position(task, min(warp_row + 16, unit.rows) - 1) + 1 : 0;  // by the warp's last row, if it has any
  State<D> state;
  state.clear();
  bool in_span = false;  // whether the span's first chunks wait
  for (int begin = job.part.first; begin < job.part.end; begin += kTileTokens) {
    const int end = begin + kTileTokens;
    const auto last_token = [&](int half) { return unit.position(task, min(first_row<kWarps>(unit) + 8 * half, unit.rows - 1)) - begin; };
    Weights weights;
    const uint8_t* keys = next_slot();
    if (begin < seen) {
      Scores scores;
      score_tile<D>(q, ptx::shared_address(keys), scores);
      if (unit.seen < end) mask_scores(scores, {last_token(0), last_token(1)});
      weigh<D>(scores, score_scale(task, unit.kv_head), state, weights);
    }
    uint8_t* values = next_slot();
    uint64_t hidden = 0;
    if (unit.seen < min(end, unit.context())) hidden = hide_non_finite<D, kWarps>(values);  // not every row sees all that is there
    if (begin < seen) {
      if (hidden) mark_hidden(weights, {last_token(0), last_token(1)}, hidden);
      add_values<D>(weights, ptx::shared_address(values), state);
    }

    const bool is_last = end >= job.part.end;
    if (!is_last && !ends_chunk(end)) continue;
    state.complete();
    if (job.part.border >= 0 && job.part.pieces == Pieces::kChunks) {
      write_piece<D, kWarps>(scratch, job, chunks(end) - 1, state);
    } else {
      if (in_span) join_state(waiting<D>(scratch, Waiting::kSpan), state);
      in_span = !is_last && !ends_span(end);
      if (in_span) {
        keep_state(waiting<D>(scratch, Waiting::kSpan), state);
      } else if (job.part.border >= 0) {
        write_piece<D, kWarps>(scratch, job, spans(end) - 1, state);
      } else {
        if (spans(end) > 1) join_state(waiting<D>(scratch, Waiting::kRow), state);
        if (is_last) write_rows<D, kWarps>(task, unit, state);
        else keep_state(waiting<D>(scratch, Waiting::kRow), state);
      }
    }
    state.clear();
  }
}

}  // namespace m2::cuda
