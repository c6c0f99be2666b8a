// The products of a decoding team by wgmma, in e4m3 (codes.h). Its four warps are a warpgroup, and all give it the same 16 rows: so each has the scores of all
// tokens without an exchange, and of o it takes the dims that are its own. The matrix units do four times what is needed, 256 of the 880 cycles in which HBM brings
// a tile. Shared memory has a place for values that are turned and the ring of slots; keys are taken as they came.
#pragma once
#include "cuda/attention/reader.h"

namespace m2::cuda {

template <class Team>
class TeamCodes {
 public:
  static constexpr int D = Team::kDim;

  // shared: the block's
  __device__ __forceinline__ TeamCodes(const AttentionTask& task, const Job& job, uint8_t* shared)
      : turned_(ptx::shared_address(shared + Team::index() * TeamShape::code_bytes(D))),
        reader_(task, job.unit, job.part.first, job.part.end, shared + Team::index() * TeamShape::code_bytes(D) + slot_bytes(D, 1)) {
    load_codes<Team>(task, job.unit, q_, scale_);
  }

  // Keys of the next tile are there.
  __device__ __forceinline__ void next_keys(M2_SITE) { tile_ = ptx::shared_address(reader_.next(M2_THIS_SITE)); }
  __device__ __forceinline__ void score(Scores& scores) const {
    ptx::wgmma_fence();
    issue_scores(tile_, q_, scores);
    ptx::wgmma_wait<0>();
  }
  __device__ __forceinline__ void weigh(Scores& scores, TeamState<Team>& state) {
    float keep[2];
    m2::cuda::weigh(scores, scale_, kRaise, state, keep);
    scale_sums(state, keep);
    pack_weights(scores, weights_);
  }

  // Values of the tile are there. hides: whether some rows do not see all of them; then the result is tokens that are hidden from all.
  __device__ __forceinline__ uint64_t next_values(bool hides M2_AND_SITE) {
    M2_SHARED(uint64_t, words, [TeamShape::kMostDecodeTeams][Team::kWarps]);
    tile_ = turned_;
    uint64_t* const own = words[Team::index()];
    turn_values<D>(ptx::shared_address(reader_.next(M2_THIS_SITE)), turned_, Team::warp(), hides, own);
    Team::meet();
    uint64_t hidden = 0;
#pragma unroll
    for (int w = 0; w < Team::kWarps && hides; w++) hidden |= own[w];
    return hidden;
  }
  __device__ __forceinline__ void mark(const int (&last)[2], uint64_t hidden) { mark_hidden(weights_, last, hidden); }
  __device__ __forceinline__ void add(TeamState<Team>& state) const {
    float sums[D / 2];
    ptx::wgmma_fence();
    issue_values(tile_, weights_, sums);
    ptx::wgmma_wait<0>();
#pragma unroll
    for (int warp = 0; warp < Team::kWarps; warp++) {  // registers have no index
      if (warp != Team::warp()) continue;
#pragma unroll
      for (int i = 0; i < Team::kOwnDims / 2; i++) state.o[i] += sums[warp * Team::kOwnDims / 2 + i];
    }
  }

 private:
  const uint32_t turned_;  // where values are turned to
  SlotReader<f8_operand, Team> reader_;
  uint32_t q_[D / 32][4], tile_;
  float scale_[2];
  Codes weights_;
};

}  // namespace m2::cuda
