// The router: the norm of x, scores = sigmoid(h gate^T) in float32, the A best of score + bias, and the counting sort of the (token, slot) pairs by expert.
//   scores   a warp for some tokens and some experts; a lane sums the products of every 32nd group of four k in order, then the lanes are added in a tree: the
//            order hangs on C alone. Moves x once per tile of experts and the gate once per tile of tokens, out of the L2 cache. Nothing before it writes the
//            gate, so the first of it is asked for before the kernel in front has ended: of one token that is all of it.
//   choose   a warp per token: A times the largest of what is left. A block has 64 tokens, and counts how many of its pairs go to each expert.
//   sort     a block for the same 64 tokens: the pairs of an expert stand behind those of the experts and of the blocks before; within a block in order.
// Up to 16 tokens each block norms its own four, which it has from L2 as it would have them behind a norm of their own: a launch less. More are normed by
// rms_norm.
// Up to 64 tokens all else is one launch: the block that is last to score some tokens chooses for them, and the last that has chosen sorts. Bound there by what
// waits for what: x, sums, two counters, A rounds of choice.
#include <algorithm>

#include "cuda/arrival.h"
#include "cuda/experts/sort.h"
#include "cuda/launch.h"
#include "cuda/launchers.h"
#include "cuda/norm.h"
#include "cuda/ptx/launch.h"

namespace m2::cuda {
namespace {

constexpr int kScoreThreads = 128, kChooseThreads = 256;

// The tokens of a block, behind the norm, in shared memory. The first block of those that have them writes them for the experts.
template <int kTokens>
__device__ __forceinline__ void norm_tokens(const RouteTask& task, int first, float4* to) {
  const float4* rows[kTokens];
  uint2* h[kTokens];
#pragma unroll
  for (int t = 0; t < kTokens; t++) {
    const int token = min(first + t, task.tokens - 1);
    rows[t] = reinterpret_cast<const float4*>(task.x + static_cast<int64_t>(token) * task.width);
    h[t] = blockIdx.x == 0 && first + t < task.tokens ? reinterpret_cast<uint2*>(task.h + static_cast<int64_t>(token) * task.width) : nullptr;
  }
  norm_rows<kScoreThreads>(rows, reinterpret_cast<const float4*>(task.norm), task.width, task.eps, to, h);
  __syncthreads();
}

// kTokens x kExperts scores of each warp; blocks (experts, tokens). kAhead: loads of each row of the gate that are under way before x is there. Where there is
// room for the tokens, they are normed into it first.
template <int kTokens, int kExperts, int kAhead>
__device__ __forceinline__ void score(const RouteTask& task, float4* room) {
  const int lane = threadIdx.x % kWarp, first_token = blockIdx.y * kTokens, first_expert = (blockIdx.x * (kScoreThreads / kWarp) + threadIdx.x / kWarp) * kExperts;
  const int vectors = task.width / 4;
  // Rows behind the last are the last once more: they are read and not written.
  const float4 *token_rows[kTokens], *expert_rows[kExperts];
#pragma unroll
  for (int e = 0; e < kExperts; e++) expert_rows[e] = reinterpret_cast<const float4*>(task.gate + static_cast<int64_t>(min(first_expert + e, task.experts - 1)) * task.width);
  float4 ahead[kAhead][kExperts];
#pragma unroll
  for (int i = 0; i < kAhead; i++) {
#pragma unroll
    for (int e = 0; e < kExperts; e++) ahead[i][e] = expert_rows[e][min(lane + i * kWarp, vectors - 1)];
  }
  ptx::wait_for_previous_kernel();
  if (room) norm_tokens<kTokens>(task, first_token, room);
#pragma unroll
  for (int t = 0; t < kTokens; t++) {
    token_rows[t] = room ? room + t * vectors : reinterpret_cast<const float4*>(task.x + static_cast<int64_t>(min(first_token + t, task.tokens - 1)) * task.width);
  }
  float sums[kTokens][kExperts] = {};
  const auto add = [&](int at, const float4 (&gates)[kExperts]) {
#pragma unroll
    for (int t = 0; t < kTokens; t++) {
      const float4 v = token_rows[t][at];
#pragma unroll
      for (int e = 0; e < kExperts; e++) sums[t][e] = fmaf(v.w, gates[e].w, fmaf(v.z, gates[e].z, fmaf(v.y, gates[e].y, fmaf(v.x, gates[e].x, sums[t][e]))));
    }
  };
#pragma unroll
  for (int i = 0; i < kAhead; i++) {
    if (lane + i * kWarp < vectors) add(lane + i * kWarp, ahead[i]);
  }
  for (int at = lane + kAhead * kWarp; at < vectors; at += kWarp) {
    float4 gates[kExperts];
#pragma unroll
    for (int e = 0; e < kExperts; e++) gates[e] = expert_rows[e][at];
    add(at, gates);
  }
#pragma unroll
  for (int t = 0; t < kTokens; t++) {
#pragma unroll
    for (int e = 0; e < kExperts; e++) {
      const float logit = warp_sum(sums[t][e]);
      if (lane == 0 && first_token + t < task.tokens && first_expert + e < task.experts) {
        task.scores[static_cast<int64_t>(first_token + t) * task.experts + first_expert + e] = 1 / (1 + expf(-logit));
      }
    }
  }
}

// All of up to 64 tokens; kNorms: behind the norm too. counters: one for the blocks of each kTokens tokens, and one for those that have chosen.
template <int kTokens, int kExperts, int kAhead, bool kNorms>
__global__ void __launch_bounds__(kScoreThreads, 2) route_kernel(const RouteTask task, uint32_t* counters) {
  M2_DYNAMIC_SHARED(shared);  // the tokens, then what RouteShared has
  ptx::let_next_kernel_start();
  if constexpr (kNorms) prefetch_l2(task.norm, task.width);
  score<kTokens, kExperts, kAhead>(task, kNorms ? reinterpret_cast<float4*>(shared) : nullptr);
  if (!is_last_block(counters + blockIdx.y, gridDim.x)) return;
  const RouteShared s(shared, task);
  const Pairs pairs(task, 0);
  choose_experts(task, s, blockIdx.y * kTokens, kTokens);
  if (gridDim.y > 1) {
    if (!is_last_block(counters + gridDim.y, gridDim.y)) return;
    read_pairs(task, s, pairs);
  }
  count_pairs(task, s, pairs);
  sort_pairs(task, s, pairs, nullptr, 1);
}

template <int kTokens, int kExperts>
__global__ void __launch_bounds__(kScoreThreads, 3) route_scores_kernel(const RouteTask task) {
  ptx::let_next_kernel_start();
  score<kTokens, kExperts, 1>(task, nullptr);
}

__global__ void __launch_bounds__(kChooseThreads) route_choose_kernel(const RouteTask task, int* block_counts) {
  M2_DYNAMIC_SHARED(shared);
  ptx::let_next_kernel_start();
  ptx::wait_for_previous_kernel();
  const RouteShared s(shared, task);
  choose_experts(task, s, blockIdx.x * kRouteTokens, kRouteTokens);
  count_pairs(task, s, Pairs(task, blockIdx.x));
  for (int e = threadIdx.x; e < task.experts; e += kChooseThreads) block_counts[static_cast<int64_t>(blockIdx.x) * task.experts + e] = s.counts[e];
}

__global__ void __launch_bounds__(kChooseThreads) route_sort_kernel(const RouteTask task, const int* block_counts, int blocks) {
  M2_DYNAMIC_SHARED(shared);
  ptx::let_next_kernel_start();
  ptx::wait_for_previous_kernel();
  const RouteShared s(shared, task);
  const Pairs pairs(task, blockIdx.x);
  read_pairs(task, s, pairs);
  sort_pairs(task, s, pairs, block_counts, blocks);
}

int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

template <int kTokens, int kExperts>
Launch score_launch(const RouteTask& task, size_t shared) {
  return {.grid = dim3(static_cast<unsigned>(parts(task.experts, kScoreThreads / kWarp * kExperts)), static_cast<unsigned>(parts(task.tokens, kTokens))),
          .block = kScoreThreads, .shared = shared};
}

// Bytes of shared memory, of a block that norms so many tokens or none.
size_t shared_bytes(const RouteTask& task, int tokens) {
  return std::max(sizeof(float) * tokens * task.width, RouteShared::bytes(task.experts, task.active, kScoreThreads));
}

template <int kTokens, int kExperts, int kAhead, bool kNorms>
void route_at_once(const Machine& m, const RouteTask& task) {
  const Launch l = score_launch<kTokens, kExperts>(task, shared_bytes(task, kNorms ? kTokens : 0));
  launch<route_kernel<kTokens, kExperts, kAhead, kNorms>>(m, l, task, m.counters(l.grid.y + 1));
}

void route_in_steps(const Machine& m, const RouteTask& task, int* block_counts) {
  const unsigned blocks = static_cast<unsigned>(parts(task.tokens, kRouteTokens));
  const Launch l{.grid = blocks, .block = kChooseThreads, .shared = RouteShared::bytes(task.experts, task.active, kChooseThreads)};
  launch<route_scores_kernel<8, 8>>(m, score_launch<8, 8>(task, 0), task);
  launch<route_choose_kernel>(m, l, task, block_counts);
  launch<route_sort_kernel>(m, l, task, block_counts, static_cast<int>(blocks));
}

}  // namespace

size_t route_scratch(const Workload& w) { return w.tokens * w.experts * sizeof(float) + parts(w.tokens, kRouteTokens) * w.experts * sizeof(int); }

void route(const Machine& m, const RouteArgs& a) {
  const int64_t tokens = a.x.size(0), experts = a.gate.size(0), blocks = parts(tokens, kRouteTokens);
  float* scores = static_cast<float*>(m.scratch(tokens * experts * sizeof(float) + blocks * experts * sizeof(int)));
  RouteTask task{a.x.as<float>(), a.norm.as<float>(), a.gate.as<float>(), bf16_data(a.h.data), static_cast<int>(a.x.size(1)), a.eps, scores, a.bias.as<float>(),
                 a.live ? a.live.as<int32_t>() : nullptr, static_cast<int>(tokens), static_cast<int>(experts), static_cast<int>(a.expert_ids.size(1)), a.expert_ids.as<int32_t>(),
                 a.weights.as<float>(), a.offsets.as<int32_t>(), a.source.as<int32_t>(), a.target.as<int32_t>()};
  if (tokens <= 16 && 2 * shared_bytes(task, 4) <= m.shared_per_block()) {  // a multiprocessor has two blocks
    return tokens == 1 ? route_at_once<1, 1, 24, true>(m, task) : route_at_once<4, 1, 24, true>(m, task);
  }
  rms_norm(m, {a.x, {}, a.norm, a.eps, a.room, a.h});
  task.x = a.room.as<float>();
  if (tokens <= kRouteTokens) route_at_once<8, 8, 1, false>(m, task);
  else route_in_steps(m, task, reinterpret_cast<int*>(scores + tokens * experts));
}

}  // namespace m2::cuda
