// A warpgroup with 64 rows of a row tile: both products by wgmma, the softmax between them.
//
// The scores of the next tile are on their way together with the values of this one: while o takes those in, the softmax makes weights of the scores. And the
// two warpgroups take turns: one issues its products while the other is at its softmax, so that the tensor cores find work at any time.
#pragma once
#include "cuda/attention/wgmma_products.h"

namespace m2::cuda {

__device__ __forceinline__ void take_turn(M2_SITE) { ptx::barrier_sync(kTurnBarrier + threadIdx.x / kWarpgroup, 2 * kWarpgroup M2_AND_THIS_SITE); }
__device__ __forceinline__ void pass_turn(M2_SITE) { ptx::barrier_arrive(kTurnBarrier + 1 - threadIdx.x / kWarpgroup, 2 * kWarpgroup M2_AND_THIS_SITE); }

template <class T, int D>
class Consumer {
 public:
  using P = Pipeline<T, D>;

  __device__ __forceinline__ Consumer(const AttentionTask& task, const P& p, const Job& job) : p_(p), unit_(job.unit), products_(task, job.unit) {
#pragma unroll
    for (int half = 0; half < 2; half++) position_[half] = unit_.position(task, min(RowTeam<D>::first_row(unit_) + 8 * half, unit_.rows - 1));
  }

  // The state of tokens `begin` to `end`, of one chunk. at: the slot of their first keys; behind them afterwards.
  __device__ __forceinline__ void attend(int begin, int end, int& at, State<D>& state) {
    Scores scores;
    state.clear();
    p_.wait_full(at);
    take_turn();
    ptx::wgmma_fence();
    products_.issue_scores(p_.slot(at), scores);
    pass_turn();
    ptx::wgmma_wait<0>();
    p_.release(at);
    mask(scores, begin);
    products_.weigh(scores, state);
    products_.take(state, true);
    products_.pack(scores);
    for (; begin + kTileTokens < end; begin += kTileTokens, at += 2) {
      wait_values(at + 1, begin);
      p_.wait_full(at + 2);
      take_turn();
      ptx::wgmma_fence();
      products_.issue_scores(p_.slot(at + 2), scores);
      products_.issue_values(p_.slot(at + 1), state);
      pass_turn();
      ptx::wgmma_wait<1>();
      p_.release(at + 2);
      mask(scores, begin + kTileTokens);
      products_.weigh(scores, state);
      ptx::wgmma_wait<0>();
      p_.release(at + 1);
      products_.take(state, false);
      products_.pack(scores);
    }
    wait_values(at + 1, begin);
    take_turn();
    ptx::wgmma_fence();
    products_.issue_values(p_.slot(at + 1), state);
    pass_turn();
    ptx::wgmma_wait<0>();
    p_.release(at + 1);
    products_.take_last(state);
    at += 2;
  }

 private:
  __device__ __forceinline__ int last_token(int half, int begin) const { return position_[half] - begin; }
  __device__ __forceinline__ void mask(Scores& scores, int begin) const {
    if (unit_.seen < begin + kTileTokens) mask_scores(scores, {last_token(0, begin), last_token(1, begin)});
  }
  __device__ __forceinline__ void wait_values(int at, int begin M2_AND_SITE) {
    p_.wait_full(at M2_AND_THIS_SITE);
    if (unit_.seen >= begin + kTileTokens) return;
    const uint64_t* words = p_.hidden[at % P::kSlots];
    const uint64_t hidden = words[0] | words[1] | words[2] | words[3];
    if (hidden) products_.mark({last_token(0, begin), last_token(1, begin)}, hidden);
  }

  const P& p_;
  const Unit& unit_;
  int position_[2];  // of the lane's rows
  WgmmaProducts<T, D> products_;
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
