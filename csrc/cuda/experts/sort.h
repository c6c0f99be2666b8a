// The parts of the router that a block does for some tokens: their scores, choosing experts, and the counting sort of the pairs by expert.
#pragma once
#include "cuda/device.h"

namespace m2::cuda {

constexpr int kRouteThreads = 256, kRouteWarps = kRouteThreads / kWarp;
constexpr int kRouteTokens = 64;  // that a block sorts

struct RouteTask {
  const float *x, *norm, *gate;  // [T, C], before the norm or behind it; [C], [E, C]
  __nv_bfloat16* h;            // [T, C]
  int width;                   // C
  float eps;
  int segments;                // of C: scores.h
  float* sums;                 // [segments, T, E]
  const float* bias;           // [E]
  const int32_t* live;         // [1] or null
  int tokens, experts, active;
  int32_t* expert_ids;         // [T, A]
  float* weights;              // [T, A]
  int32_t *offsets, *source, *target;  // [E + 1], [T A], [T, A]
};

// A block's shared memory: how often each expert was chosen, where its rows begin, the experts of the pairs; of a token of each warp that has one, its scores and
// what is left to choose from.
struct RouteShared {
  int *counts, *starts;  // [E], [E]
  int* pairs;            // [64 A], -1: none
  float* scores;         // [warps, E]
  uint32_t* ranks;       // [warps, E]

  __device__ __forceinline__ RouteShared(uint8_t* memory, const RouteTask& task)
      : counts(reinterpret_cast<int*>(memory)), starts(counts + task.experts), pairs(starts + task.experts),
        scores(reinterpret_cast<float*>(pairs + kRouteTokens * task.active)), ranks(reinterpret_cast<uint32_t*>(scores + warps(task) * task.experts)) {}
  __host__ __device__ static int warps(const RouteTask& task) { return task.tokens < kRouteWarps ? task.tokens : kRouteWarps; }
  static size_t bytes(const RouteTask& task) { return (static_cast<size_t>(2 + 2 * warps(task)) * task.experts + kRouteTokens * task.active) * sizeof(int); }
};

__device__ __forceinline__ int live_tokens(const RouteTask& task) { return task.live ? min(*task.live, task.tokens) : task.tokens; }

// The scores of `tokens` tokens from `first_token` on, [tokens, E]: segments added in order, then the sigmoid.
__device__ __forceinline__ void sum_scores(const RouteTask& task, int first_token, int tokens, float* scores) {
  constexpr int kAtOnce = 4;
  const float* sums = task.sums + static_cast<int64_t>(first_token) * task.experts;
  const int64_t segment = static_cast<int64_t>(task.tokens) * task.experts;
  for (int first = threadIdx.x; first < tokens * task.experts; first += kAtOnce * kRouteThreads) {
    float logits[kAtOnce] = {};
#pragma unroll 4
    for (int s = 0; s < task.segments; s++) {
#pragma unroll
      for (int i = 0; i < kAtOnce; i++) {
        if (first + i * kRouteThreads < tokens * task.experts) logits[i] += sums[s * segment + first + i * kRouteThreads];
      }
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; i++) {
      if (first + i * kRouteThreads < tokens * task.experts) scores[first + i * kRouteThreads] = 1 / (1 + expf(-logits[i]));
    }
  }
}

// Ranks as integers of the same order. A NaN ranks last, so that ids are ids whatever the numbers are; what is taken ranks below it.
constexpr uint32_t kTaken = 0;
__device__ __forceinline__ uint32_t rank_key(float rank) {
  constexpr float kLowest = -3.4028235e38f;
  const uint32_t bits = __float_as_uint(rank > kLowest ? rank : kLowest);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// The experts of one token, by a warp. A lane has every 32nd expert: it keeps the best of them that is left and looks for the next when that is taken.
__device__ __forceinline__ void choose_of_one(const RouteTask& task, const float* scores, uint32_t* ranks, int* chosen) {
  const int lane = threadIdx.x % kWarp;
  uint32_t most = kTaken;
  int best = task.experts;
  for (int e = lane; e < task.experts; e += kWarp) {
    const uint32_t rank = rank_key(scores[e] + task.bias[e]);
    ranks[e] = rank;
    if (rank > most) {
      most = rank;
      best = e;
    }
  }
  for (int a = 0; a < task.active; a++) {
    const uint32_t top = __reduce_max_sync(kFullMask, most);
    const unsigned expert = __reduce_min_sync(kFullMask, most == top ? static_cast<unsigned>(best) : 0xffffffffu);  // the lower one among equals
    if (static_cast<int>(expert) != best) continue;
    chosen[a] = best;
    ranks[best] = most = kTaken;
    best = task.experts;
    for (int e = lane; e < task.experts; e += kWarp) {
      if (ranks[e] > most) {
        most = ranks[e];
        best = e;
      }
    }
  }
}

// The experts and their weights of `count` tokens from `first` on, which are the first of the block's pairs too: as many at a time as there are warps.
__device__ __forceinline__ void choose_experts(const RouteTask& task, const RouteShared& s, int first, int count) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, live = live_tokens(task), end = min(first + count, task.tokens);
  const float* scores = s.scores + warp * task.experts;
  for (int begin = first; begin < end; begin += kRouteWarps) {
    if (begin > first) __syncthreads();  // nobody looks at the scores any more
    sum_scores(task, begin, min(kRouteWarps, end - begin), s.scores);
    __syncthreads();
    const int token = begin + warp;
    if (token >= end) continue;
    int* chosen = s.pairs + (token - first) * task.active;
    if (token < live) choose_of_one(task, scores, s.ranks + warp * task.experts, chosen);
    else for (int a = lane; a < task.active; a += kWarp) chosen[a] = -1;
    __syncwarp();
    float total = 0;
    for (int a = 0; a < task.active && token < live; a++) total += scores[chosen[a]];
    for (int a = lane; a < task.active; a += kWarp) {
      const int expert = chosen[a];
      task.expert_ids[static_cast<int64_t>(token) * task.active + a] = expert;
      task.weights[static_cast<int64_t>(token) * task.active + a] = expert < 0 ? 0 : scores[expert] / total;
    }
  }
}

// The pairs of the block-th 64 tokens.
struct Pairs {
  int block, count;
  int64_t first;

  __device__ __forceinline__ Pairs(const RouteTask& task, int block) : block(block), first(static_cast<int64_t>(block) * kRouteTokens * task.active) {
    count = static_cast<int>(min(static_cast<int64_t>(task.tokens) * task.active - first, static_cast<int64_t>(kRouteTokens) * task.active));
  }
};

// What another block or launch chose.
__device__ __forceinline__ void read_pairs(const RouteTask& task, const RouteShared& s, const Pairs& pairs) {
  for (int i = threadIdx.x; i < pairs.count; i += kRouteThreads) s.pairs[i] = task.expert_ids[pairs.first + i];
}

__device__ __forceinline__ void count_pairs(const RouteTask& task, const RouteShared& s, const Pairs& pairs) {
  for (int e = threadIdx.x; e < task.experts; e += kRouteThreads) s.counts[e] = 0;
  __syncthreads();  // all pairs are there too
  for (int i = threadIdx.x; i < pairs.count; i += kRouteThreads) {
    if (s.pairs[i] >= 0) atomicAdd(&s.counts[s.pairs[i]], 1);
  }
  __syncthreads();
}

// Where the rows of each expert begin: `starts` for the block's own pairs; `offsets`, of all, is written by the first block. One block alone has its
// counts in shared memory, several have them in block_counts [blocks, E].
__device__ __forceinline__ void find_starts(const RouteTask& task, const RouteShared& s, int block, const int* block_counts, int blocks) {
  for (int e = threadIdx.x; e < task.experts; e += kRouteThreads) {
    int total = 0, before = 0;
    if (!block_counts) total = s.counts[e];
    for (int b = 0; block_counts && b < blocks; b++) {
      const int count = block_counts[static_cast<int64_t>(b) * task.experts + e];
      if (b < block) before += count;
      total += count;
    }
    s.counts[e] = total;
    s.starts[e] = before;
  }
  M2_SHARED(int, warp_sums, [kRouteWarps]);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  int begin = 0;  // of the experts of this round
  for (int first = 0; first < task.experts; first += kRouteThreads) {
    const int e = first + threadIdx.x, count = e < task.experts ? s.counts[e] : 0;  // its own: no other thread writes it
    int sum = count;
#pragma unroll
    for (int step = 1; step < kWarp; step *= 2) {
      const int before = __shfl_up_sync(kFullMask, sum, step);
      if (lane >= step) sum += before;
    }
    if (lane == kWarp - 1) warp_sums[warp] = sum;
    __syncthreads();
    int end = begin;
    for (int w = 0; w < kRouteWarps; w++) {
      if (w == warp) begin = end;
      end += warp_sums[w];
    }
    if (e < task.experts) {
      s.starts[e] += begin + sum - count;
      if (block == 0) task.offsets[e + 1] = begin + sum;
    }
    begin = end;
    __syncthreads();
  }
  if (block == 0 && threadIdx.x == 0) task.offsets[0] = 0;
}

// Gives every pair its row: behind those of its expert that come before it. One warp takes them in order, so many at a time as it has lanes; of those
// that go to one expert the first moves where its next row begins.
__device__ __forceinline__ void place_pairs(const RouteTask& task, const RouteShared& s, const Pairs& pairs) {
  const int lane = threadIdx.x;
  if (lane >= kWarp) return;
  for (int at = lane; at - lane < pairs.count; at += kWarp) {
    const int expert = at < pairs.count ? s.pairs[at] : -1;
    const unsigned alike = __match_any_sync(kFullMask, expert), before = alike & ((1u << lane) - 1);
    const int row = expert < 0 ? -1 : s.starts[expert] + __popc(before);
    __syncwarp();
    if (expert >= 0 && before == 0) s.starts[expert] = row + __popc(alike);
    __syncwarp();
    if (at < pairs.count) task.target[pairs.first + at] = row;
    if (row >= 0) task.source[row] = static_cast<int32_t>(pairs.first + at);
  }
}

__device__ __forceinline__ void sort_pairs(const RouteTask& task, const RouteShared& s, const Pairs& pairs, const int* block_counts, int blocks) {
  find_starts(task, s, pairs.block, block_counts, blocks);
  place_pairs(task, s, pairs);
}

}  // namespace m2::cuda
