// The products of a team by mma, in bf16. Its shared memory has a ring of slots for keys and values, of which one is in use and the others are on their way; of
// e4m3 behind them one of bf16, the one in use; then q; then, where warps share rows, scores.
#pragma once
#include "cuda/attention/products.h"
#include "cuda/attention/reader.h"
#include "cuda/attention/states.h"

namespace m2::cuda {

template <class T, class Team>
class MmaProducts {
 public:
  static constexpr int D = Team::kDim, kSlots = TeamShape::slots(sizeof(T), Team::kSharesRows), kBytes = TeamShape::shared_bytes(D, sizeof(T), Team::kSharesRows);

  // shared: the block's
  __device__ __forceinline__ MmaProducts(const AttentionTask& task, const Job& job, uint8_t* shared)
      : slots_(shared + Team::index() * kBytes), wide_(slots_ + kSlots * slot_bytes(D, sizeof(T))),
        q_(reinterpret_cast<uint4*>(wide_ + (kIsNarrow ? slot_bytes(D, 2) : 0)) + (Team::kSharesRows ? 0 : Team::warp() * (D / 16) * kWarp) + threadIdx.x % kWarp),
        scores_(reinterpret_cast<float4*>(q_ + D / 16 * kWarp)), reader_(task, job.unit, job.part.first, job.part.end, slots_), rounds_(kIsNarrow && task.rounds) {
    const float scale = score_scale(task, job.unit.kv_head);
    scale_[0] = scale_[1] = scale;
    if (!Team::kSharesRows || Team::warp() == 0) load_rows<Team>(task, job.unit, rounds_, [this](int k, const uint4& a) { q_[k * kWarp] = a; });
  }

  // Keys of the next tile are there.
  __device__ __forceinline__ void next_keys(M2_SITE) { tile_ = next(M2_THIS_SITE); }

  // Scores of the tile for all rows of the warp. Where warps share rows, each computes its tokens' and gets the others'.
  __device__ __forceinline__ void score(Scores& scores) const {
    if constexpr (Team::kSharesRows) {
      constexpr int kTokens = kTileTokens / Team::kWarps;
      float own[kTokens / 2];
      score_tokens<D, kTokens>(q_, ptx::shared_address(tile_) + Team::warp() * kTokens * D * 2, own);
#pragma unroll
      for (int j = 0; j < kTokens / 8; j++) scores_[(Team::warp() * kTokens / 8 + j) * kWarp] = {own[4 * j], own[4 * j + 1], own[4 * j + 2], own[4 * j + 3]};
      Team::meet();
#pragma unroll
      for (int j = 0; j < kTileTokens / 8; j++) {
        const float4 s = scores_[j * kWarp];
        scores[4 * j] = s.x;
        scores[4 * j + 1] = s.y;
        scores[4 * j + 2] = s.z;
        scores[4 * j + 3] = s.w;
      }
    } else {
      score_tokens<D, kTileTokens>(q_, ptx::shared_address(tile_), scores);
    }
  }
  __device__ __forceinline__ void weigh(Scores& scores, TeamState<Team>& state) {
    float keep[2];
    m2::cuda::weigh(scores, scale_, rounds_ ? kRaise : 0, state, keep);
    scale_sums(state, keep);
    if (rounds_) round_weights(scores);
    pack_weights(scores, weights_);
  }

  // Values of the tile are there. hides: whether some rows do not see all of them; then the result is tokens that are hidden from all.
  __device__ __forceinline__ uint64_t next_values(bool hides M2_AND_SITE) {
    tile_ = next(M2_THIS_SITE);
    return hides ? hide_non_finite<Team>(tile_) : 0;
  }
  __device__ __forceinline__ void mark(const int (&last)[2], uint64_t hidden) { mark_hidden(weights_, last, hidden); }
  __device__ __forceinline__ void add(TeamState<Team>& state) const { add_values<D, Team::kOwnDims>(weights_, ptx::shared_address(tile_), Team::first_dim(), state); }

 private:
  static constexpr bool kIsNarrow = sizeof(T) == 1;

  __device__ __forceinline__ uint8_t* next(M2_SITE) {
    uint8_t* slot = reader_.next(M2_THIS_SITE);
    if constexpr (kIsNarrow) {
      widen_slot<Team>(slot, wide_);
      Team::meet(M2_THIS_SITE);  // it is there
      return wide_;
    }
    return slot;
  }

  uint8_t *const slots_, *const wide_;
  uint4* const q_;        // the lane's, every 32nd
  float4* const scores_;  // the lane's, every 32nd
  SlotReader<T, Team> reader_;
  const bool rounds_;
  float scale_[2];
  uint8_t* tile_;
  Weights weights_;
};

}  // namespace m2::cuda
