// The token of one row, by a block. All truncations keep the beginning of the row's order.
//   listed (top-k up to 1024): the k best are sorted; top-p is a scan of their weights, and each of those left gets its noise.
//   otherwise: the token with the largest score and noise is looked for among all that may still come, and then it is asked whether top-p and min-p keep it: top-p by the
//   sum of the weights of those better than it. One that is not kept takes all after it along, and the search goes on before it. The first is a draw from all, so it is
//   kept with a probability of top_p (the idea of sampling by rejection is FlashInfer's, "Sorting-free GPU kernels for LLM sampling", 2025; here it gives the very token that
//   is the largest of those kept). A group is read only if its reach says that it could hold the largest.
// Sums run in an order that V alone decides.
#pragma once
#include "cuda/sampling/best.h"

namespace m2::cuda {

constexpr double kMostNoise = 22.9;  // of -log(-log(u)), u = 1 - 2^-33
constexpr double kReachError = 1e-3; // more than the roundings of a reach

struct DrawShared {
  List list;
  double weights[kMostListed];
  int kept;
  Best bests[kWarp];
  double totals[kWarp];
};

// Every thread of the block has one.
class Draw {
 public:
  __device__ __forceinline__ Draw(DrawShared& s, const SampleTask& task, int64_t n, const SamplingOptions& o, const Row& row, const Facts& facts)
      : s_(s), keys_(task.keys + n * task.groups), reaches_(task.reaches + n * task.groups), sums_(task.sums + n * task.groups), vocab_(task.vocab), groups_(task.groups), o_(o),
        row_(row), facts_(facts), largest_(key_score(facts.top)) {}

  __device__ __forceinline__ int token() const { return is_listed(o_, vocab_) ? listed() : unlisted(); }

 private:
  __device__ __forceinline__ double exponent(float score) const { return exact_exponent(score, largest_, o_.temperature); }
  __device__ __forceinline__ uint64_t highest() const { return uint64_t{facts_.top} << 32 | 0xffffffffu; }

  static __device__ __forceinline__ double noise(uint32_t word) { return -log(-log((word + 0.5) * 0x1p-32)); }

  __device__ __forceinline__ int listed() const {
    int count;
    const uint64_t* best = list_best<true>(s_.list, row_, keys_, groups_, facts_, highest(), o_.top_k, count);
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

  // How many of the best have less than top_p of the weight before them. By one warp.
  __device__ __forceinline__ void keep_top_p(int count) const {
    const int lane = threadIdx.x;
    double total = 0;
    for (int i = lane; i < count; i += kWarp) total += s_.weights[i];
    const double missing = o_.top_p * warp_total(total);
    double before = 0;
    int kept = 0;
    for (int begin = 0; begin < count; begin += kWarp) {
      const double own = begin + lane < count ? s_.weights[begin + lane] : 0;
      double through = own;
#pragma unroll
      for (int step = 1; step < kWarp; step *= 2) {
        const double left = __shfl_up_sync(kFullMask, through, step);
        if (lane >= step) through += left;
      }
      const double left = __shfl_up_sync(kFullMask, through, 1);
      const bool keeps = begin + lane < count && before + (lane > 0 ? left : 0) < missing;
      const unsigned keepers = __ballot_sync(kFullMask, keeps);
      kept += __popc(keepers);
      if (keepers != kFullMask) break;
      before += __shfl_sync(kFullMask, through, kWarp - 1);
    }
    if (lane == 0) s_.kept = max(kept, 1);
  }

  __device__ __forceinline__ int unlisted() const {
    uint64_t end = kLowestRank;  // what is below it does not come
    if (o_.top_k > 0 && o_.top_k < vocab_) {
      end = find_end_of_row<true>(s_.list.bins, row_, keys_, groups_, end, highest(), o_.top_k, o_.top_k);
    }
    double missing = 0;
    if (o_.top_p < 1) missing = o_.top_p * (end == kLowestRank ? total_weight() : weight_from(end));
    if (o_.min_p > 0) {  // a little below what min-p keeps
      const float bound = static_cast<float>(largest_ + log(static_cast<double>(o_.min_p)) * o_.temperature);
      end = max(end, uint64_t{score_key(bound) - 1} << 32);
    }
    while (true) {
      const uint64_t best = search(end);
      if (keeps(best, missing)) return rank_id(best);
      end = best + 1;
    }
  }

  __device__ __forceinline__ bool keeps(uint64_t rank, double missing) const {
    if (exp(exponent(rank_score(rank))) < o_.min_p) return false;
    if (!(o_.top_p < 1)) return true;
    const double before = weight_from(rank + 1);
    return before == 0 || before < missing;
  }

  // The weight of all that can come, from the sums of the groups.
  __device__ __forceinline__ double total_weight() const {
    double total = 0;
    for (int g = threadIdx.x; g < groups_; g += blockDim.x) {
      if (keys_[g] > kNever) total += sums_[g] * exp(exponent(key_score(keys_[g])));
    }
    return block_reduce(total, s_.totals, warp_total);
  }

  // The weight of the ranks from `end` on.
  __device__ __forceinline__ double weight_from(uint64_t end) const {
    const Exponent power(largest_, o_.temperature);
    double total = 0;
    each_group<true>(row_, groups_, [&](int g) { return keys_[g] >= rank_key(end); }, [&](int g, const float(&x)[4]) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        if (rank_of(score_key(x[i]), first_id(g) + i) >= end) total += expf(power(x[i]));
      }
    });
    return block_reduce(total, s_.totals, warp_total);
  }

  // The rank from `end` on with the largest exponent and noise.
  __device__ __forceinline__ uint64_t search(uint64_t end) const {
    const auto most_of = [&](int g) { return exponent(key_score(keys_[g])) + reaches_[g] + kReachError; };
    const auto consider = [&](int g, const float(&x)[4], Best& best) {
      const std::array<uint32_t, 4> random = random_words(o_, first_id(g) / 4);
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const uint64_t rank = rank_of(score_key(x[i]), first_id(g) + i);
        if (rank < end) continue;
        const double score = exponent(x[i]);
        if (score + kMostNoise >= best.number()) best.offer(score + noise(random[i]), rank);
      }
    };
    // The group that reaches highest gives a bound, which few others reach.
    Best first;
    for (int g = threadIdx.x; g < groups_; g += blockDim.x) {
      if (keys_[g] >= rank_key(end)) first.offer(most_of(g), rank_of(0, g));
    }
    const int likeliest = rank_id(block_reduce(first, s_.bests, warp_best).rank);
    Best best;
    if (threadIdx.x < kWarp) {
      float x[4];
      row_.load(likeliest, x);
      row_.adjust(likeliest, x);
      consider(likeliest, x, best);
    }
    best = block_reduce(best, s_.bests, warp_best);
    const double bound = best.number();
    each_group<true>(row_, groups_, [&](int g) { return g != likeliest && keys_[g] >= rank_key(end) && most_of(g) >= bound; },
                     [&](int g, const float(&x)[4]) { consider(g, x, best); });
    return block_reduce(best, s_.bests, warp_best).rank;
  }

  DrawShared& s_;
  const uint32_t* keys_;
  const float* reaches_;
  const double* sums_;
  int vocab_, groups_;
  const SamplingOptions& o_;
  const Row& row_;
  const Facts& facts_;
  float largest_;
};

}  // namespace m2::cuda
