// A warpgroup with 64 rows of a row tile: both products by wgmma, the softmax between them.
//
// The scores of the next tile are on their way together with the values of this one: while o takes those in, the softmax makes weights of the scores. And the
// two warpgroups take turns: one issues its products while the other is at its softmax, so that the tensor cores find work at any time.
#pragma once
#include "cuda/attention/pipeline.h"
#include "cuda/ptx/wgmma.h"

namespace m2::cuda {

__device__ __forceinline__ void take_turn(M2_SITE) { ptx::barrier_sync(kTurnBarrier + threadIdx.x / kWarpgroup, 2 * kWarpgroup M2_AND_THIS_SITE); }
__device__ __forceinline__ void pass_turn(M2_SITE) { ptx::barrier_arrive(kTurnBarrier + 1 - threadIdx.x / kWarpgroup, 2 * kWarpgroup M2_AND_THIS_SITE); }

// s = q K^T, under way.
template <class P, int kSteps>
__device__ __forceinline__ void issue_scores(const P&, uint32_t keys, const uint32_t (&q)[kSteps][4], Scores& s) {
#pragma unroll
  for (int k = 0; k < kSteps; k++) {
    ptx::wgmma_bf16(s, q[k], ptx::matrix_descriptor(keys + k / 4 * P::kHalfBytes + k % 4 * 32, 16, 8 * P::kPitch, ptx::Swizzle::k128), k > 0);
  }
  ptx::wgmma_commit();
}
// o += weights V, under way.
template <class P, int kSums>
__device__ __forceinline__ void issue_values(const P&, uint32_t values, const Weights& weights, float (&o)[kSums]) {
#pragma unroll
  for (int j = 0; j < kTileTokens / 16; j++) {
    ptx::wgmma_bf16<1>(o, weights[j], ptx::matrix_descriptor(values + j * 16 * P::kPitch, P::kHalfBytes, 8 * P::kPitch, ptx::Swizzle::k128), 1);
  }
  ptx::wgmma_commit();
}

template <class T, int D>
class Consumer {
 public:
  using P = Pipeline<T, D>;

  __device__ __forceinline__ Consumer(const AttentionTask& task, const P& p, const Job& job)
      : task_(task), p_(p), unit_(job.unit), seen_(job.unit.seen), scale_(score_scale(task, job.unit.kv_head)) {
    load_rows<RowTeam<D>>(task, unit_, [this](int k, const uint4& a) {
      q_[k][0] = a.x;
      q_[k][1] = a.y;
      q_[k][2] = a.z;
      q_[k][3] = a.w;
    });
  }

  // The state of tokens `begin` to `end`, of one chunk. at: the slot of their first keys; behind them afterwards.
  __device__ __forceinline__ void attend(int begin, int end, int& at, State<D>& state) {
    Scores scores;
    Weights weights;
    float keep[2];
    state.clear();
    p_.wait_full(at);
    take_turn();
    ptx::wgmma_fence();
    issue_scores(p_, p_.slot(at), q_, scores);
    pass_turn();
    ptx::wgmma_wait<0>();
    p_.release(at);
    mask(scores, begin);
    weigh(scores, scale_, state, keep);
    pack_weights(scores, weights);
    for (; begin + kTileTokens < end; begin += kTileTokens, at += 2) {
      wait_values(at + 1, begin, weights);
      p_.wait_full(at + 2);
      take_turn();
      ptx::wgmma_fence();
      issue_scores(p_, p_.slot(at + 2), q_, scores);
      issue_values(p_, p_.slot(at + 1), weights, state.o);
      pass_turn();
      ptx::wgmma_wait<1>();
      p_.release(at + 2);
      mask(scores, begin + kTileTokens);
      weigh(scores, scale_, state, keep);
      ptx::wgmma_wait<0>();
      p_.release(at + 1);
      scale_sums(state, keep);
      pack_weights(scores, weights);
    }
    wait_values(at + 1, begin, weights);
    take_turn();
    ptx::wgmma_fence();
    issue_values(p_, p_.slot(at + 1), weights, state.o);
    pass_turn();
    ptx::wgmma_wait<0>();
    p_.release(at + 1);
    at += 2;
  }

 private:
  __device__ __forceinline__ int last_token(int half, int begin) const { return unit_.position(task_, min(RowTeam<D>::first_row(unit_) + 8 * half, unit_.rows - 1)) - begin; }
  __device__ __forceinline__ void mask(Scores& scores, int begin) const {
    if (seen_ < begin + kTileTokens) mask_scores(scores, {last_token(0, begin), last_token(1, begin)});
  }
  __device__ __forceinline__ void wait_values(int at, int begin, Weights& weights M2_AND_SITE) const {
    p_.wait_full(at M2_AND_THIS_SITE);
    if (seen_ >= begin + kTileTokens) return;
    const uint64_t* words = p_.hidden[at % P::kSlots];
    const uint64_t hidden = words[0] | words[1] | words[2] | words[3];
    if (hidden) mark_hidden(weights, {last_token(0, begin), last_token(1, begin)}, hidden);
  }

  const AttentionTask& task_;
  const P& p_;
  const Unit& unit_;
  const int seen_;      // by the first row of the row tile
  const float scale_;
  uint32_t q_[D / 16][4];
};

template <class T, int D>
__device__ __forceinline__ void consume(const AttentionTask& task, const AttentionScratch& scratch, const Pipeline<T, D>& p) {
  if (threadIdx.x >= kWarpgroup) pass_turn();  // the first one begins
  for (int n = 0, at = 0;; n++) {
    const Job& job = p.wait_job(n);
    if (job.part.first >= job.part.end) break;
    Consumer<T, D> consumer(task, p, job);
    bool in_span = false;
    for (int begin = job.part.first, end; begin < job.part.end; begin = end) {
      end = min(begin + chunk_size(begin), job.part.end);
      State<D> state;
      consumer.attend(begin, end, at, state);
      end_chunk<RowTeam<D>>(task, scratch, job, end, row_waiting<RowTeam<D>>(scratch, 1), p.span(), in_span, state);
    }
    p.finish_job(n);
  }
}

}  // namespace m2::cuda
