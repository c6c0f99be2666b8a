// The token of one row that is drawn, by a block. Every truncation keeps the beginning of the row's order.
//   listed (top-k up to 1024)  the k best are sorted, top-p is a scan of their weights, and what is left gets its noise.
//   otherwise                  the largest of scores with noise is looked for among all tokens, and then it is asked whether top-p and min-p keep it: top-p
//                              by the weight of all that are better. One that is not kept takes all after it along, and the search goes on before it. What
//                              is found first is a draw from the whole distribution, so top-p keeps it with a probability of top_p or more.
// That rejection can stand in for a sort is the idea of FlashInfer's samplers; going by the noise makes it give the token that a sort would give.
// Sums run in an order that V alone decides.
#pragma once
#include "cuda/sampling/best.h"

namespace m2::cuda {

constexpr double kMostNoise = 22.9;   // of -log(-log(u)), u = 1 - 2^-33
constexpr double kReachError = 1e-3;  // far more than what roundings do to a reach

struct DrawShared {
  RankList list;
  double weights[kMostListed];
  int kept;
  Best bests[kWarp];
  double totals[kWarp];
};

// Of each thread of the block.
class Draw {
 public:
  __device__ __forceinline__ Draw(DrawShared& s, const SampleTask& task, int64_t n, const SamplingOptions& o, const ScoreRow& row, const RowFacts& facts)
      : s_(s), o_(o), row_(row), facts_(facts), groups_{row, task.keys + n * task.groups, task.groups}, reaches_(task.reaches + n * task.groups),
        sums_(task.sums + n * task.groups), vocab_(task.vocab), largest_(key_score(facts.top)) {}

  __device__ __forceinline__ int token() const { return is_listed(o_, vocab_) ? listed() : unlisted(); }

 private:
  // As the CPU has it.
  __device__ __forceinline__ double exponent(float score) const { return (static_cast<double>(score) - largest_) / o_.temperature; }
  static __device__ __forceinline__ double noise(uint32_t word) { return -log(-log((word + 0.5) * 0x1p-32)); }

  __device__ __forceinline__ int listed() const {
    int count;
    const uint64_t* best = list_best(s_.list, groups_, facts_, highest_rank(facts_.top), o_.top_k, count);
    for (int i = threadIdx.x; i < count; i += blockDim.x) s_.weights[i] = exp(exponent(rank_score(best[i])));
    if (o_.top_p < 1) {
      __syncthreads();
      if (threadIdx.x < kWarp) keep_top_p(count);
      __syncthreads();
      count = s_.kept;
    }
    Best drawn;
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
      if (s_.weights[i] >= o_.min_p) drawn.offer(exponent(rank_score(best[i])) + noise(random_word(o_, rank_id(best[i]))), best[i]);
    }
    return rank_id(block_reduce(drawn, s_.bests, warp_best).rank);
  }

  // How many of the listed have less than top_p of the weight before them. By one warp.
  __device__ __forceinline__ void keep_top_p(int count) const {
    const int lane = threadIdx.x;
    double total = 0;
    for (int i = lane; i < count; i += kWarp) total += s_.weights[i];
    const double missing = o_.top_p * warp_total(total);
    double before = 0;  // of those whose turn is over
    int kept = 0;
    for (int begin = 0; begin < count; begin += kWarp) {
      double through = begin + lane < count ? s_.weights[begin + lane] : 0;
#pragma unroll
      for (int step = 1; step < kWarp; step *= 2) {
        const double left = __shfl_up_sync(kFullMask, through, step);
        if (lane >= step) through += left;
      }
      const double left = __shfl_up_sync(kFullMask, through, 1);
      const unsigned keeps = __ballot_sync(kFullMask, begin + lane < count && before + (lane > 0 ? left : 0) < missing);
      kept += __popc(keeps);
      if (keeps != kFullMask) break;
      before += __shfl_sync(kFullMask, through, kWarp - 1);
    }
    if (lane == 0) s_.kept = max(kept, 1);
  }

  __device__ __forceinline__ int unlisted() const {
    uint64_t end = kLowestRank;  // what is below does not come
    if (o_.top_k > 0 && o_.top_k < vocab_) {
      end = find_end(s_.list.bins, end, highest_rank(facts_.top), o_.top_k, o_.top_k, [&](uint64_t low, const auto& body) { groups_.each_rank(low, body); });
    }
    double missing = 0;
    if (o_.top_p < 1) missing = o_.top_p * (end == kLowestRank ? total_weight() : weight_from(end));
    if (o_.min_p > 0) {  // a little lower than where min-p ends: most that it does not keep need not be found first
      const float bound = static_cast<float>(largest_ + log(static_cast<double>(o_.min_p)) * o_.temperature);
      end = max(end, rank_of(score_key(bound) - 1, -1));
    }
    while (true) {
      const uint64_t best = search(end);
      if (best == 0 || keeps(best, missing)) return rank_id(best);
      end = best + 1;
    }
  }

  __device__ __forceinline__ bool keeps(uint64_t rank, double missing) const {
    if (exp(exponent(rank_score(rank))) < o_.min_p) return false;
    if (!(o_.top_p < 1)) return true;
    const double before = weight_from(rank + 1);
    return before == 0 || before < missing;  // the best is always kept
  }

  // Of all that can come, from the sums of the groups.
  __device__ __forceinline__ double total_weight() const {
    double total = 0;
    for (int g = threadIdx.x; g < groups_.count; g += blockDim.x) {
      const uint32_t key = groups_.keys[g];
      if (key > kNever) total += sums_[g] * exp(exponent(key_score(key)));
    }
    return block_reduce(total, s_.totals, warp_total);
  }

  __device__ __forceinline__ double weight_from(uint64_t end) const {
    const Exponent power(largest_, o_.temperature);
    double total = 0;
    groups_.each_rank(end, [&](uint64_t rank) {
      if (rank >= end) total += expf(power(rank_score(rank)));
    });
    return block_reduce(total, s_.totals, warp_total);
  }

  // The rank from `end` on with the largest exponent and noise; 0 if there is none.
  __device__ __forceinline__ uint64_t search(uint64_t end) const {
    const auto reach = [&](int g) { return exponent(key_score(groups_.keys[g])) + reaches_[g] + kReachError; };
    const auto consider = [&](int g, const float(&x)[4], Best& best) {
      const std::array<uint32_t, 4> random = random_words(o_, first_id(g));
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const uint64_t rank = rank_of(score_key(x[i]), first_id(g) + i);
        if (rank < end) continue;
        const double score = exponent(x[i]);
        if (score + kMostNoise >= best.number()) best.offer(score + noise(random[i]), rank);
      }
    };
    // What is found in the group with the highest reach is more than the reach of almost all others.
    Best likeliest;
    for (int g = threadIdx.x; g < groups_.count; g += blockDim.x) {
      if (groups_.keys[g] >= rank_key(end)) likeliest.offer(reach(g), rank_of(0, g));
    }
    likeliest = block_reduce(likeliest, s_.bests, warp_best);
    if (likeliest.order == 0) return 0;
    const int first = rank_id(likeliest.rank);
    Best best;
    if (threadIdx.x < kWarp) {
      float x[4];
      row_.load(first, x);
      row_.adjust(first, x);
      consider(first, x, best);
    }
    best = block_reduce(best, s_.bests, warp_best);
    const double found = best.number();
    groups_.each([&](int g) { return g != first && groups_.keys[g] >= rank_key(end) && reach(g) >= found; },
                 [&](int g, const float(&x)[4]) { consider(g, x, best); });
    return block_reduce(best, s_.bests, warp_best).rank;
  }

  DrawShared& s_;
  const SamplingOptions& o_;
  const ScoreRow& row_;
  const RowFacts& facts_;
  const Groups<true> groups_;
  const float* reaches_;
  const double* sums_;
  int vocab_;
  float largest_;
};

}  // namespace m2::cuda
