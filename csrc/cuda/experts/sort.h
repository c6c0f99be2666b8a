// The parts of the router that a block does for its 64 tokens: choosing experts, and the counting sort of the pairs by expert.
#pragma once
#include "cuda/device.h"

namespace m2::cuda {

constexpr int kRouteThreads = 256;
constexpr int kRouteTokens = 64;  // of a block

struct RouteTask {
  const float *scores, *bias;  // [T, E], [E]
  const int32_t* live;         // [1] or null
  int tokens, experts, active;
  int32_t* expert_ids;         // [T, A]
  float* weights;              // [T, A]
  int32_t *offsets, *source, *target;  // [E + 1], [T A], [T, A]
};

// A block's shared memory: how often each expert was chosen, where its rows begin, what is left to choose from for each warp, the experts of the pairs.
struct RouteShared {
  int *counts, *starts;  // [E], [E]
  uint32_t* ranks;       // [warps, E]
  int* pairs;            // [64 A], -1: none

  __device__ __forceinline__ RouteShared(uint8_t* memory, const RouteTask& task)
      : counts(reinterpret_cast<int*>(memory)), starts(counts + task.experts), ranks(reinterpret_cast<uint32_t*>(starts + task.experts)),
        pairs(reinterpret_cast<int*>(ranks + kRouteThreads / kWarp * task.experts)) {}
  static size_t bytes(int experts, int active) { return (static_cast<size_t>(2 + kRouteThreads / kWarp) * experts + kRouteTokens * active) * sizeof(int); }
};

__device__ __forceinline__ int live_tokens(const RouteTask& task) { return task.live ? min(*task.live, task.tokens) : task.tokens; }

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

// The experts of the block's tokens and their weights, counted.
__device__ __forceinline__ void choose_experts(const RouteTask& task, const RouteShared& s) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, live = live_tokens(task);
  uint32_t* ranks = s.ranks + warp * task.experts;
  for (int i = warp; i < kRouteTokens; i += kRouteThreads / kWarp) {
    const int token = blockIdx.x * kRouteTokens + i;
    if (token >= task.tokens) break;
    const float* scores = task.scores + static_cast<int64_t>(token) * task.experts;
    int* chosen = s.pairs + i * task.active;
    if (token < live) choose_of_one(task, scores, ranks, chosen);
    else for (int a = lane; a < task.active; a += kWarp) chosen[a] = -1;
    __syncwarp();
    float total = 0;
    for (int a = 0; a < task.active && token < live; a++) total += scores[chosen[a]];
    for (int a = lane; a < task.active; a += kWarp) {
      const int expert = chosen[a];
      task.expert_ids[static_cast<int64_t>(token) * task.active + a] = expert;
      task.weights[static_cast<int64_t>(token) * task.active + a] = expert < 0 ? 0 : scores[expert] / total;
      if (expert >= 0) atomicAdd(&s.counts[expert], 1);
    }
  }
}

// What `choose_experts` left of the block's pairs, as another launch finds it.
__device__ __forceinline__ void read_pairs(const RouteTask& task, const RouteShared& s) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kRouteTokens * task.active, end = min(static_cast<int64_t>(task.tokens) * task.active, first + kRouteTokens * task.active);
  for (int64_t i = first + threadIdx.x; i < end; i += kRouteThreads) s.pairs[i - first] = task.expert_ids[i];
}

// Where the rows of each expert begin: `starts` for the block's own pairs; `offsets`, of all, is written by the first block. One block alone has its
// counts in shared memory, several have them in block_counts [blocks, E].
__device__ __forceinline__ void find_starts(const RouteTask& task, const RouteShared& s, const int* block_counts, int blocks) {
  for (int e = threadIdx.x; e < task.experts; e += kRouteThreads) {
    int total = 0, before = 0;
    if (!block_counts) total = s.counts[e];
    for (int b = 0; block_counts && b < blocks; b++) {
      const int count = block_counts[static_cast<int64_t>(b) * task.experts + e];
      if (b < static_cast<int>(blockIdx.x)) before += count;
      total += count;
    }
    s.counts[e] = total;
    s.starts[e] = before;
  }
  M2_SHARED(int, warp_sums, [kRouteThreads / kWarp]);
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
    for (int w = 0; w < kRouteThreads / kWarp; w++) {
      if (w == warp) begin = end;
      end += warp_sums[w];
    }
    if (e < task.experts) {
      s.starts[e] += begin + sum - count;
      if (blockIdx.x == 0) task.offsets[e + 1] = begin + sum;
    }
    begin = end;
    __syncthreads();
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) task.offsets[0] = 0;
}

// Gives every pair of the block its row: behind those of its expert that come before it.
__device__ __forceinline__ void sort_pairs(const RouteTask& task, const RouteShared& s, const int* block_counts, int blocks) {
  find_starts(task, s, block_counts, blocks);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kRouteTokens * task.active;
  const int count = static_cast<int>(min(static_cast<int64_t>(task.tokens) * task.active - first, static_cast<int64_t>(kRouteTokens) * task.active));
  for (int i = threadIdx.x; i < count; i += kRouteThreads) {
    const int expert = s.pairs[i];
    int row = -1;
    if (expert >= 0) {
      row = s.starts[expert];
      for (int j = 0; j < i; j++) row += s.pairs[j] == expert;
      task.source[row] = static_cast<int32_t>(first + i);
    }
    task.target[first + i] = row;
  }
}

}  // namespace m2::cuda
