// A row as its groups of 128 ids, of which `prepare` keeps a little: whoever looks for something reads again only the groups that can hold it.
#pragma once
#include "cuda/sampling/scores.h"

namespace m2::cuda {

// e^exponent(score) is a probability over that of the largest. In float32, for sums and bounds; nothing in between overflows. Twice the inverse of a
// temperature near 0 is cut off at the largest number: the exponents of all but the largest are far below 0 then all the same.
struct Exponent {
  float half_largest, twice_inverse;

  __device__ __forceinline__ Exponent(float largest, float temperature) : half_largest(0.5f * largest), twice_inverse(fminf(2 / temperature, 3.4028235e38f)) {}
  __device__ __forceinline__ float operator()(float score) const { return fmaf(0.5f, score, -half_largest) * twice_inverse; }
};

__device__ __forceinline__ bool is_finite_key(uint32_t key) { return key > kNever && key < kInfiniteKey; }

// The three of a group, from this lane's four scores; the whole warp comes.
__device__ __forceinline__ uint32_t group_key(const float (&x)[4]) {
  return __reduce_max_sync(kFullMask, max(max(score_key(x[0]), score_key(x[1])), max(score_key(x[2]), score_key(x[3]))));
}
__device__ __forceinline__ double group_sum(const float (&x)[4], const Exponent& exponent) {
  double sum = 0;
#pragma unroll
  for (int i = 0; i < 4; i++) sum += expf(exponent(x[i]));
  return warp_total(sum);
}
// Noise -log(-log(1 - v)) is below -log(v + v^2 / 2), and the less so the larger it is.
__device__ __forceinline__ float group_reach(const float (&x)[4], const Exponent& exponent, const std::array<uint32_t, 4>& random) {
  float reach = -__builtin_inff();
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float v = (static_cast<float>(~random[i]) + 0.5f) * 0x1p-32f;
    reach = fmaxf(reach, exponent(x[i]) - __logf(fmaf(0.5f * v, v, v)));
  }
  return key_score(__reduce_max_sync(kFullMask, score_key(reach)));
}

// What the groups' keys say of their row.
struct alignas(16) RowFacts {  // moved in one piece
  uint32_t top = 0;       // the largest; kNanKey if there is a NaN
  uint32_t least = 0;     // the complement of the least of those that can come
  uint32_t usable = 0;    // how many can come
  uint32_t top_logit = 0;

  __device__ __forceinline__ void add(uint32_t key, uint32_t logit_key) {
    top = max(top, key);
    top_logit = max(top_logit, logit_key);
    if (key <= kNever) return;
    least = max(least, ~key);
    usable++;
  }
  static __device__ __forceinline__ RowFacts of_warp(const RowFacts& f) {
    return {__reduce_max_sync(kFullMask, f.top), __reduce_max_sync(kFullMask, f.least), __reduce_add_sync(kFullMask, f.usable),
            __reduce_max_sync(kFullMask, f.top_logit)};
  }
};

// kAdjusted: scores; else logits.
template <bool kAdjusted>
struct Groups {
  const ScoreRow& row;
  const uint32_t* keys;
  int count;

  // Calls body(group, x), x this lane's four, with a warp for each group that is wanted(group). Which warp, and in what order, hangs on V and on what is
  // wanted alone. The logits of the next group are on their way meanwhile.
  template <class Wanted, class Body>
  __device__ __forceinline__ void each(const Wanted& wanted, const Body& body) const {
    const int warps = blockDim.x / kWarp, lane = threadIdx.x % kWarp;
    for (int begin = threadIdx.x / kWarp; begin < count; begin += warps * kWarp) {
      const int own = begin + lane * warps;
      unsigned left = __ballot_sync(kFullMask, own < count && wanted(own));
      int next = begin + (__ffs(left) - 1) * warps;
      float logits[4];
      if (left) row.load(next, logits);
      while (left) {
        const int group = next;
        float x[4] = {logits[0], logits[1], logits[2], logits[3]};
        left &= left - 1;
        next = begin + (__ffs(left) - 1) * warps;
        if (left) row.load(next, logits);
        if constexpr (kAdjusted) row.adjust(group, x);
        body(group, x);
      }
    }
  }

  // Calls body(rank), a warp together, for every rank from `low` on and for others that share a group with one.
  template <class Body>
  __device__ __forceinline__ void each_rank(uint64_t low, const Body& body) const {
    each([&](int g) { return keys[g] >= rank_key(low); },
         [&](int g, const float(&x)[4]) {
#pragma unroll
           for (int i = 0; i < 4; i++) body(rank_of(score_key(x[i]), first_id(g) + i));
         });
  }
};

}  // namespace m2::cuda
