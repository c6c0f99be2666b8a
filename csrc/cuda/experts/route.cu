// The router: scores = sigmoid(x gate^T) in float32, the A best of score + bias, and the counting sort of the (token, slot) pairs by expert.
//   scores   a warp for some tokens and some experts; a lane sums the products of every 32nd group of four k in order, then the lanes are added in a tree: the
//            order hangs on C alone. Moves x once per tile of experts and the gate once per tile of tokens, out of the L2 cache.
//   choose   a warp per token: A times the largest of what is left. A block has 64 tokens, and counts how many of its pairs go to each expert.
//   sort     a block for the same 64 tokens: the pairs of an expert stand behind those of the experts and of the blocks before; within a block in order.
// Up to 64 tokens choose and sort are one launch.
#include "cuda/experts/sort.h"
#include "cuda/launch.h"
#include "cuda/launchers.h"
#include "cuda/ptx/launch.h"
#include "cuda/reduce.h"

namespace m2::cuda {
namespace {

constexpr int kScoreThreads = 128;

// kTokens x kExperts scores of each warp.
template <int kTokens, int kExperts>
__global__ void __launch_bounds__(kScoreThreads, 3) route_scores_kernel(const float* x, const float* gate, int tokens, int experts, int width, float* scores) {
  ptx::let_next_kernel_start();
  ptx::wait_for_previous_kernel();
  const int warp = blockIdx.x * (kScoreThreads / kWarp) + threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int columns = (experts + kExperts - 1) / kExperts, first_token = warp / columns * kTokens, first_expert = warp % columns * kExperts;
  if (first_token >= tokens) return;
  // Rows behind the last are the last once more: they are read and not written.
  const float4 *token_rows[kTokens], *expert_rows[kExperts];
#pragma unroll
  for (int t = 0; t < kTokens; t++) token_rows[t] = reinterpret_cast<const float4*>(x + static_cast<int64_t>(min(first_token + t, tokens - 1)) * width);
#pragma unroll
  for (int e = 0; e < kExperts; e++) expert_rows[e] = reinterpret_cast<const float4*>(gate + static_cast<int64_t>(min(first_expert + e, experts - 1)) * width);
  float sums[kTokens][kExperts] = {};
  [[maybe_unused]] constexpr int kSteps = kTokens * kExperts <= 4 ? 8 : 1;  // whose loads are under way together
#pragma unroll kSteps
  for (int at = lane; at < width / 4; at += kWarp) {
    float4 gates[kExperts];
#pragma unroll
    for (int e = 0; e < kExperts; e++) gates[e] = expert_rows[e][at];
#pragma unroll
    for (int t = 0; t < kTokens; t++) {
      const float4 v = token_rows[t][at];
#pragma unroll
      for (int e = 0; e < kExperts; e++) sums[t][e] = fmaf(v.w, gates[e].w, fmaf(v.z, gates[e].z, fmaf(v.y, gates[e].y, fmaf(v.x, gates[e].x, sums[t][e]))));
    }
  }
#pragma unroll
  for (int t = 0; t < kTokens; t++) {
#pragma unroll
    for (int e = 0; e < kExperts; e++) {
      const float logit = warp_sum(sums[t][e]);
      if (lane == 0 && first_token + t < tokens && first_expert + e < experts) {
        scores[static_cast<int64_t>(first_token + t) * experts + first_expert + e] = 1 / (1 + expf(-logit));
      }
    }
  }
}

template <bool kSorts>
__global__ void __launch_bounds__(kRouteThreads) route_choose_kernel(const RouteTask task, int* block_counts) {
  M2_DYNAMIC_SHARED(shared);
  ptx::let_next_kernel_start();
  ptx::wait_for_previous_kernel();
  const RouteShared s(shared, task);
  for (int e = threadIdx.x; e < task.experts; e += kRouteThreads) s.counts[e] = 0;
  __syncthreads();
  choose_experts(task, s);
  __syncthreads();
  if constexpr (kSorts) {
    sort_pairs(task, s, nullptr, 1);
  } else {
    for (int e = threadIdx.x; e < task.experts; e += kRouteThreads) block_counts[static_cast<int64_t>(blockIdx.x) * task.experts + e] = s.counts[e];
  }
}

__global__ void __launch_bounds__(kRouteThreads) route_sort_kernel(const RouteTask task, const int* block_counts, int blocks) {
  M2_DYNAMIC_SHARED(shared);
  ptx::let_next_kernel_start();
  ptx::wait_for_previous_kernel();
  const RouteShared s(shared, task);
  read_pairs(task, s);
  sort_pairs(task, s, block_counts, blocks);
}

int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

template <int kTokens, int kExperts>
void launch_scores(const Machine& m, const RouteArgs& a, float* scores) {
  const int64_t tokens = a.x.size(0), experts = a.gate.size(0), warps = parts(tokens, kTokens) * parts(experts, kExperts);
  launch<route_scores_kernel<kTokens, kExperts>>(m, {.grid = static_cast<unsigned>(parts(warps, kScoreThreads / kWarp)), .block = kScoreThreads}, a.x.as<float>(), a.gate.as<float>(),
                                                 static_cast<int>(tokens), static_cast<int>(experts), static_cast<int>(a.x.size(1)), scores);
}

}  // namespace

size_t route_scratch(const Workload& w) { return w.tokens * w.experts * sizeof(float) + parts(w.tokens, kRouteTokens) * w.experts * sizeof(int); }

void route(const Machine& m, const RouteArgs& a) {
  const int64_t tokens = a.x.size(0), experts = a.gate.size(0), active = a.expert_ids.size(1), blocks = parts(tokens, kRouteTokens);
  float* scores = static_cast<float*>(m.scratch(tokens * experts * sizeof(float) + blocks * experts * sizeof(int)));
  int* block_counts = reinterpret_cast<int*>(scores + tokens * experts);
  if (tokens == 1) launch_scores<1, 1>(m, a, scores);
  else if (tokens <= 16) launch_scores<4, 1>(m, a, scores);
  else launch_scores<8, 8>(m, a, scores);

  const RouteTask task{scores, a.bias.as<float>(), a.live ? a.live.as<int32_t>() : nullptr, static_cast<int>(tokens), static_cast<int>(experts), static_cast<int>(active),
                       a.expert_ids.as<int32_t>(), a.weights.as<float>(), a.offsets.as<int32_t>(), a.source.as<int32_t>(), a.target.as<int32_t>()};
  const Launch l{.grid = static_cast<unsigned>(blocks), .block = kRouteThreads, .shared = RouteShared::bytes(task.experts, task.active)};
  if (blocks == 1) {
    launch<route_choose_kernel<true>>(m, l, task, nullptr);
  } else {
    launch<route_choose_kernel<false>>(m, l, task, block_counts);
    launch<route_sort_kernel>(m, l, task, block_counts, static_cast<int>(blocks));
  }
}

}  // namespace m2::cuda
