// What a team of kWarps warps, with 16 rows each, does with its part of a row tile's context. The team's shared memory has a ring of slots for keys and
// values, of which one is in use and the others are on their way; of e4m3 behind them half a one of bf16, which is in use; then q. What waits in memory is
// in L1 or L2, 2 x 16 bytes for each lane and 8 dims; decoding cuts at chunks all but the longest work, and so has it seldom.
#pragma once
#include "cuda/attention/products.h"
#include "cuda/attention/reader.h"
#include "cuda/attention/states.h"

namespace m2::cuda {

template <class T, int D, int kWarps>
__device__ __forceinline__ void attend(const AttentionTask& task, const AttentionScratch& scratch, const Job& job) {
  M2_DYNAMIC_SHARED(shared);
  constexpr int kSlots = TeamShape::kSlots;
  uint8_t* slots = shared + (kWarps == 1 ? threadIdx.x / kWarp : 0) * TeamShape::shared_bytes(D, sizeof(T), kWarps);
  uint4* q = reinterpret_cast<uint4*>(slots + TeamShape::slots_bytes(D, sizeof(T))) + warp_of_team<kWarps>() * (D / 16) * kWarp + threadIdx.x % kWarp;
  const Unit& unit = job.unit;
  SlotReader<T, D, kWarps, kSlots> reader(task, unit, job.part.first, job.part.end, slots);
  load_rows<D, kWarps>(task, unit, [q](int k, const uint4& a) { q[k * kWarp] = a; });
  // Rows of the slot in use that products take at once, as bf16.
  constexpr int kPasses = TeamShape::passes(sizeof(T)), kTokens = kTileTokens / kPasses;
  const auto rows_of = [&](uint8_t* slot, int pass) {
    if constexpr (kPasses > 1) {
      uint8_t* wide = slots + kSlots * slot_bytes(D, sizeof(T));
      if (pass > 0) meet<kWarps>();  // nobody is at those before
      widen_rows<D, kWarps, kTokens>(slot + pass * kTokens * D * sizeof(T), wide);
      meet<kWarps>();  // they are there
      return wide;
    }
    return slot;
  };

  const int warp_row = unit.row + 16 * warp_of_team<kWarps>();
  const int seen = warp_row < unit.rows ? unit.position(task, min(warp_row + 16, unit.rows) - 1) + 1 : 0;  // by the warp's last row, if it has any
  State<D> state;
  state.clear();
  bool in_span = false;
  for (int begin = job.part.first; begin < job.part.end; begin += kTileTokens) {
    const int end = begin + kTileTokens;
    const auto last_token = [&](int half) { return unit.position(task, min(first_row<kWarps>(unit) + 8 * half, unit.rows - 1)) - begin; };
    Scores scores;
    Weights weights;
    uint8_t* keys = reader.next();
#pragma unroll
    for (int pass = 0; pass < kPasses; pass++) {
      const uint8_t* rows = rows_of(keys, pass);
      if (begin < seen) score_tokens<D, kTokens>(q, ptx::shared_address(rows), pass * kTokens, scores);
    }
    if (begin < seen) {
      if (unit.seen < end) mask_scores(scores, {last_token(0), last_token(1)});
      float keep[2];
      weigh(scores, score_scale(task, unit.kv_head), state, keep);
      scale_sums(state, keep);
      pack_weights(scores, weights);
    }
    uint8_t* values = reader.next();
#pragma unroll
    for (int pass = 0; pass < kPasses; pass++) {
      uint8_t* rows = rows_of(values, pass);
      uint64_t hidden = 0;
      if (unit.seen < min(end, unit.context())) hidden = hide_non_finite<D, kWarps, kTokens>(rows) << pass * kTokens;  // not every row sees all that is there
      if (begin >= seen) continue;
      if (hidden) mark_hidden(weights, {last_token(0), last_token(1)}, hidden);
      add_values<D, kTokens>(weights, ptx::shared_address(rows), pass * kTokens, state);
    }
    if (end < job.part.end && !ends_chunk(end)) continue;
    end_chunk<D, kWarps>(task, scratch, job, end, span_waiting<D, kWarps>(scratch), in_span, state);
    state.clear();
  }
}

}  // namespace m2::cuda
