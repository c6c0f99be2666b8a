// What a team does with its part of a row tile's context. States that wait are in L1 or L2, 2 x 16 bytes for each lane and 8 dims; decoding cuts at chunks all but
// the longest work, and so has them seldom.
#pragma once
#include <type_traits>

#include "cuda/attention/mma_products.h"
#include "cuda/attention/team_codes.h"

namespace m2::cuda {

template <class T, class Team>
__device__ __forceinline__ void attend(const AttentionTask& task, const AttentionScratch& scratch, const Job& job, int teams) {
  M2_DYNAMIC_SHARED(shared);
  const Unit& unit = job.unit;
  std::conditional_t<std::is_same_v<T, f8_operand>, TeamCodes<Team>, MmaProducts<T, Team>> products(task, job, shared);
  const int warp_row = unit.row + (Team::kSharesRows ? 0 : 16 * Team::warp());
  const int seen = warp_row < unit.rows ? unit.position(task, min(warp_row + 16, unit.rows) - 1) + 1 : 0;  // by the warp's last row, if it has any
  TeamState<Team> state;
  state.clear();
  bool in_span = false;
  for (int begin = job.part.first; begin < job.part.end; begin += kTileTokens) {
    const int end = begin + kTileTokens;
    const auto last_token = [&](int half) { return unit.position(task, min(Team::first_row(unit) + 8 * half, unit.rows - 1)) - begin; };
    products.next_keys();
    if (begin < seen) {
      Scores scores;
      products.score(scores);
      if (unit.seen < end) mask_scores(scores, {last_token(0), last_token(1)});
      products.weigh(scores, state);
    }
    const uint64_t hidden = products.next_values(unit.seen < min(end, unit.context()));  // not every row sees all that is there
    if (begin < seen) {
      if (hidden) products.mark({last_token(0), last_token(1)}, hidden);
      products.add(state);
    }
    if (end < job.part.end && !ends_chunk(end)) continue;
    end_chunk<Team>(task, scratch, job, end, row_waiting<Team>(scratch, teams), span_waiting<Team>(scratch, teams), in_span, state);
    state.clear();
  }
}

}  // namespace m2::cuda
