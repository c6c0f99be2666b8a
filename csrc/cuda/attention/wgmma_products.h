// The products of a consumer by wgmma, and what is between them: in bf16, or in e4m3 (codes.h).
//
//   issue_scores, issue_values   under way behind wgmma_fence, until the wait
//   weigh, pack                  scores to weights: their sums, which m changes; their numbers, which values may still be on their way to
//   take                         o is what it is in front of those weights' values; called when the values before have arrived, if there were any
//   take_last                    o is complete
#pragma once
#include "cuda/attention/pipeline.h"

namespace m2::cuda {

// Slots of bf16. Values are added to o in the matrix unit.
template <int D>
class WideProducts {
  using P = Pipeline<__nv_bfloat16, D>;  // whose slots those of a widened cache are too

 public:
  __device__ __forceinline__ WideProducts(const AttentionTask& task, const Unit& unit) {
    scale_[0] = scale_[1] = score_scale(task, unit.kv_head);
    load_rows<RowTeam<D>>(task, unit, false, [this](int k, const uint4& a) {
      q_[k][0] = a.x;
      q_[k][1] = a.y;
      q_[k][2] = a.z;
      q_[k][3] = a.w;
    });
  }
  __device__ __forceinline__ void issue_scores(uint32_t keys, Scores& s) const {
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
      ptx::wgmma_bf16(s, q_[k], ptx::matrix_descriptor(keys + k / 4 * P::kHalfBytes + k % 4 * 32, 16, 8 * P::kPitch, ptx::Swizzle::k128), k > 0);
    }
    ptx::wgmma_commit();
  }
  __device__ __forceinline__ void issue_values(uint32_t values, State<D>& state) {
#pragma unroll
    for (int j = 0; j < kTileTokens / 16; j++) {
      ptx::wgmma_bf16<1>(state.o, weights_[j], ptx::matrix_descriptor(values + j * 16 * P::kPitch, P::kHalfBytes, 8 * P::kPitch, ptx::Swizzle::k128), 1);
    }
    ptx::wgmma_commit();
  }
  __device__ __forceinline__ void weigh(Scores& s, State<D>& state) { m2::cuda::weigh(s, scale_, 0, state, keep_); }
  __device__ __forceinline__ void take(State<D>& state, bool) { scale_sums(state, keep_); }
  __device__ __forceinline__ void take_last(State<D>&) {}
  __device__ __forceinline__ void pack(const Scores& s) { pack_weights(s, weights_); }
  __device__ __forceinline__ void mark(const int (&last)[2], uint64_t hidden) { mark_hidden(weights_, last, hidden); }

 private:
  uint32_t q_[D / 16][4];
  float scale_[2], keep_[2];
  Weights weights_;
};

// Slots of e4m3. Each tile's values have sums of their own.
template <int D>
class CodeProducts {
 public:
  __device__ __forceinline__ CodeProducts(const AttentionTask& task, const Unit& unit) { load_codes<RowTeam<D>>(task, unit, q_, scale_); }
  __device__ __forceinline__ void issue_scores(uint32_t keys, Scores& s) const { m2::cuda::issue_scores(keys, q_, s); }
  __device__ __forceinline__ void issue_values(uint32_t values, State<D>&) { m2::cuda::issue_values(values, weights_, sums_); }
  __device__ __forceinline__ void weigh(Scores& s, State<D>& state) { m2::cuda::weigh(s, scale_, kRaise, state, keep_); }
  __device__ __forceinline__ void take(State<D>& state, bool is_first) {
    if (!is_first) add_sums(state, sums_);
    scale_sums(state, keep_);
  }
  __device__ __forceinline__ void take_last(State<D>& state) { add_sums(state, sums_); }
  __device__ __forceinline__ void pack(const Scores& s) { pack_weights(s, weights_); }
  __device__ __forceinline__ void mark(const int (&last)[2], uint64_t hidden) { mark_hidden(weights_, last, hidden); }

 private:
  uint32_t q_[D / 32][4];
  float scale_[2], keep_[2], sums_[D / 2];
  Codes weights_;
};

template <class T, int D>
using WgmmaProducts = std::conditional_t<std::is_same_v<T, f8_operand>, CodeProducts<D>, WideProducts<D>>;

}  // namespace m2::cuda
