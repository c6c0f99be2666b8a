// What a team does with its part of a row tile's context. Its shared memory has a ring of slots for keys and values, of which one is in use and the others are
// on their way; of e4m3 behind them one of bf16, the one in use; then q; then, where warps share rows, scores. States that wait are in L1 or L2, 2 x 16 bytes
// for each lane and 8 dims; decoding cuts at chunks all but the longest work, and so has them seldom.
#pragma once
#include "cuda/attention/products.h"
#include "cuda/attention/reader.h"
#include "cuda/attention/states.h"

namespace m2::cuda {

template <class T, class Team>
struct TeamMemory {
  static constexpr int D = Team::kDim, kSlots = TeamShape::slots(sizeof(T), Team::kSharesRows), kBytes = TeamShape::shared_bytes(D, sizeof(T), Team::kSharesRows);
  uint8_t *slots, *wide;
  uint4* q;        // the lane's, every 32nd
  float4* scores;  // the lane's, every 32nd

  __device__ __forceinline__ explicit TeamMemory(uint8_t* shared) : slots(shared + Team::index() * kBytes), wide(slots + kSlots * slot_bytes(D, sizeof(T))) {
    const int lane = threadIdx.x % kWarp;
    q = reinterpret_cast<uint4*>(wide + (sizeof(T) == 1 ? slot_bytes(D, 2) : 0)) + (Team::kSharesRows ? 0 : Team::warp() * (D / 16) * kWarp) + lane;
    scores = reinterpret_cast<float4*>(q + D / 16 * kWarp);
  }
};

// Scores of a tile for all rows of the warp. Where warps share rows, each computes its tokens' and gets the others'.
template <class T, class Team>
__device__ __forceinline__ void score_tile(const TeamMemory<T, Team>& memory, const uint8_t* keys, Scores& scores) {
  constexpr int D = Team::kDim;
  if constexpr (Team::kSharesRows) {
    constexpr int kTokens = kTileTokens / Team::kWarps;
    float own[kTokens / 2];
    score_tokens<D, kTokens>(memory.q, ptx::shared_address(keys) + Team::warp() * kTokens * D * 2, own);
#pragma unroll
    for (int j = 0; j < kTokens / 8; j++) memory.scores[(Team::warp() * kTokens / 8 + j) * kWarp] = {own[4 * j], own[4 * j + 1], own[4 * j + 2], own[4 * j + 3]};
    Team::meet();
#pragma unroll
    for (int j = 0; j < kTileTokens / 8; j++) {
      const float4 s = memory.scores[j * kWarp];
      scores[4 * j] = s.x;
      scores[4 * j + 1] = s.y;
      scores[4 * j + 2] = s.z;
      scores[4 * j + 3] = s.w;
    }
  } else {
    score_tokens<D, kTileTokens>(memory.q, ptx::shared_address(keys), scores);
  }
}

template <class T, class Team>
__device__ __forceinline__ void attend(const AttentionTask& task, const AttentionScratch& scratch, const Job& job, int teams) {
  M2_DYNAMIC_SHARED(shared);
  constexpr int D = Team::kDim;
  const TeamMemory<T, Team> memory(shared);
  const Unit& unit = job.unit;
  SlotReader<T, Team> reader(task, unit, job.part.first, job.part.end, memory.slots);
  if (!Team::kSharesRows || Team::warp() == 0) load_rows<Team>(task, unit, [&memory](int k, const uint4& a) { memory.q[k * kWarp] = a; });
  const auto next_slot = [&] {
    uint8_t* slot = reader.next();
    if constexpr (sizeof(T) == 1) {
      widen_slot<Team>(slot, memory.wide);
      Team::meet();  // it is there
      return memory.wide;
    }
    return slot;
  };

  const int warp_row = unit.row + (Team::kSharesRows ? 0 : 16 * Team::warp());
  const int seen = warp_row < unit.rows ? unit.position(task, min(warp_row + 16, unit.rows) - 1) + 1 : 0;  // by the warp's last row, if it has any
  const float scale = score_scale(task, unit.kv_head);
  TeamState<Team> state;
  state.clear();
  bool in_span = false;
  for (int begin = job.part.first; begin < job.part.end; begin += kTileTokens) {
    const int end = begin + kTileTokens;
    const auto last_token = [&](int half) { return unit.position(task, min(Team::first_row(unit) + 8 * half, unit.rows - 1)) - begin; };
    Weights weights;
    const uint8_t* keys = next_slot();
    if (begin < seen) {
      Scores scores;
      score_tile(memory, keys, scores);
      if (unit.seen < end) mask_scores(scores, {last_token(0), last_token(1)});
      float keep[2];
      weigh(scores, scale, state, keep);
      scale_sums(state, keep);
      pack_weights(scores, weights);
    }
    uint8_t* values = next_slot();
    uint64_t hidden = 0;
    if (unit.seen < min(end, unit.context())) hidden = hide_non_finite<Team>(values);  // not every row sees all that is there
    if (begin < seen) {
      if (hidden) mark_hidden(weights, {last_token(0), last_token(1)}, hidden);
      add_values<D, Team::kOwnDims>(weights, ptx::shared_address(values), Team::first_dim(), state);
    }
    if (end < job.part.end && !ends_chunk(end)) continue;
    end_chunk<Team>(task, scratch, job, end, row_waiting<Team>(scratch, teams), span_waiting<Team>(scratch, teams), in_span, state);
    state.clear();
  }
}

}  // namespace m2::cuda
