// The router and the sum of experts. Scores are dot products along C: a lane sums every 16th product, then the lanes are added in a fixed tree.
#pragma once
#include "cpu/kernels.h"
#include "cpu/simd/math.h"

namespace m2::cpu {

// out[t][e] = sigmoid(x[t] . gate[e]) for T tokens and E experts
template <class S, int T, int E>
void route_tile(const float* x, const float* gate, int64_t width, float* out, int64_t experts) {
  typename S::F acc[T][E];
#pragma GCC unroll 8
  for (int t = 0; t < T; t++) {
#pragma GCC unroll 8
    for (int e = 0; e < E; e++) acc[t][e] = S::zero();
  }
  for (int64_t i = 0; i < width; i += kLanes) {
    typename S::F g[E];
#pragma GCC unroll 8
    for (int e = 0; e < E; e++) g[e] = S::load(gate + e * width + i);
#pragma GCC unroll 8
    for (int t = 0; t < T; t++) {
      const typename S::F v = S::load(x + t * width + i);
#pragma GCC unroll 8
      for (int e = 0; e < E; e++) acc[t][e] = S::fma(v, g[e], acc[t][e]);
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; t++) {
#pragma GCC unroll 8
    for (int e = 0; e < E; e++) S::store_part(out + t * experts + e, sigmoid<S>(S::set(S::sum(acc[t][e]))), 1);
  }
}

template <class S>
void route_scores(const RouteTask& task, int64_t first_token, int64_t last_token, int64_t first_expert, int64_t last_expert) {
  constexpr int kTile = S::kDotTile;
  for (int64_t t = first_token; t < last_token;) {
    const bool tall = last_token - t >= kTile;
    for (int64_t e = first_expert; e < last_expert;) {
      const bool wide = last_expert - e >= kTile;
      const float *x = task.x + t * task.width, *gate = task.gate + e * task.width;
      float* out = task.scores + t * task.experts + e;
      const auto tile = tall ? wide ? route_tile<S, kTile, kTile> : route_tile<S, kTile, 1> : wide ? route_tile<S, 1, kTile> : route_tile<S, 1, 1>;
      tile(x, gate, task.width, out, task.experts);
      e += wide ? kTile : 1;
    }
    t += tall ? kTile : 1;
  }
}

// The experts with the largest score + bias, ties to the lower index. A NaN ranks last, so that ids are ids whatever the numbers are.
template <class S>
void route_choose(const RouteTask& task, int64_t first_token, int64_t last_token) {
  constexpr float kTaken = -__builtin_inff(), kLowest = -3.4028235e38f;
  for (int64_t t = first_token; t < last_token; t++) {
    const float* scores = task.scores + t * task.experts;
    int32_t* ids = task.expert_ids + t * task.active;
    float *weights = task.weights + t * task.active, total = 0;
    for (int64_t a = 0; a < task.active; a++) {
      int64_t best = -1;
      float most = kTaken;
      for (int64_t e = 0; e < task.experts; e++) {
        const float sum = scores[e] + task.bias[e], rank = sum > kLowest ? sum : kLowest;
        if (rank <= most) continue;
        bool taken = false;
        for (int64_t b = 0; b < a; b++) taken |= ids[b] == e;
        if (taken) continue;
        most = rank;
        best = e;
      }
      ids[a] = static_cast<int32_t>(best);
      weights[a] = scores[best];
      total += scores[best];
    }
    for (int64_t a = 0; a < task.active; a++) weights[a] /= total;
  }
}

template <class S>
void unpermute(const UnpermuteTask& task, int64_t first, int64_t last) {
  for (int64_t t = first; t < last; t++) {
    const int32_t* target = task.target + t * task.active;
    if (target[0] < 0) continue;
    const float* weights = task.weights + t * task.active;
    float* out = task.out + t * task.width;
    for (int64_t i = 0; i < task.width; i += kLanes) {
      typename S::F sum = S::zero();
      for (int64_t a = 0; a < task.active; a++) sum = S::fma(S::set(weights[a]), S::load(task.y + target[a] * task.width + i), sum);
      S::store(out + i, S::add(S::load(out + i), sum));
    }
  }
}

}  // namespace m2::cpu
