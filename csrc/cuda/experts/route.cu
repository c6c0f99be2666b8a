// The router: the norm of x, scores = sigmoid(h gate^T), the A best of score + bias, and the counting sort of the (token, slot) pairs by expert.
//   sums     products on the matrix units, by parts (scores.h), of experts and tokens over a segment of C.
//            Up to 64 tokens a block has 16 experts, 8 tokens and a segment: 64 blocks for M2's one token. Must move: the gate, 3.1 MB, out of memory, 0.7 us; it
//            does so once for each 8 tokens, and is split in registers, so no byte more is read than of float32 products on the plain units. Nothing before it
//            writes the gate: it is asked for and split before the kernel in front has ended. What is left is waiting: x and its norm, 72 mma of each scheduler
//            (0.25 us), the chains' sums, the last block, the choice, the sort. Predicted 4.8 us for one token; products on the plain units, bound by 384 cycles
//            of shared memory and their tree of shuffles, come to the same by the same count.
//            More tokens: a warp has 16 or 32 experts, its gate split in registers, and all of the block's 32 or 64 tokens, whose parts the block makes once in
//            shared memory: the large tiles once they fill the chip. 32 x 64 by 32 k are 192 mma, 1,100 cycles of a matrix unit, beside some 420 other
//            instructions of the warp and 12 KiB out of shared memory. Predicted for 8,192 tokens: 158 us at 490 TFLOP/s, 80 % of the 610 that mma.sync is taken to
//            reach on Hopper; the gate moves 128 times out of L2, 14 bytes a cycle of each multiprocessor. Products on the plain units would take 537 us.
//   choose   adds up the segments, then a warp per token: A times the largest of what is left. A block has 64 tokens, and counts how many of its pairs go to each
//            expert.
//   sort     a block for the same 64 tokens: the pairs of an expert stand behind those of the experts and of the blocks before; within a block in order.
// Up to 16 tokens each block norms its own, which it has from L2 as it would have them behind a norm of their own: a launch less. More are normed by rms_norm.
// Up to 64 tokens all else is one launch: the block that is last to sum some tokens chooses for them, and the last that has chosen sorts.
#include <algorithm>

#include "cuda/arrival.h"
#include "cuda/experts/scores.h"
#include "cuda/experts/sort.h"
#include "cuda/launch.h"
#include "cuda/launchers.h"
#include "cuda/norm.h"
#include "cuda/ptx/launch.h"

namespace m2::cuda {
namespace {

static_assert(kRouteThreads == kNormChains);

constexpr int kQuads = kChain / 4;  // fours of k of a chain

// What a lane has of the rows of a chain's experts, from `first` on: rows behind the last are the last once more, which are read and not written.
__device__ __forceinline__ void load_experts(const RouteTask& task, int first, int chain, float4 (&rows)[kChainSteps][2]) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int row = 0; row < 2; row++) {
    const int from = min(first + lane / 4 + 8 * row, task.experts - 1) * task.width + chain * kChain + lane % 4 * 4;
#pragma unroll
    for (int step = 0; step < kChainSteps; step++) rows[step][row] = *reinterpret_cast<const float4*>(task.gate + from + step * kStep);
  }
}

// A block's shared memory for a segment: what the chains come to, and behind it the parts of the tokens, [chains][parts][rows][4 lanes].
struct SegmentShared {
  float sums[kSegmentChains][kTile][kPanel + 4];  // 4: no two lanes write to one bank
  static size_t bytes(int64_t rows) { return sizeof(SegmentShared) + kSegmentChains * kParts * rows * sizeof(uint4) * 4; }
};

// The sums of 16 experts and 8 tokens over a segment. First a thread makes parts of four k of each token; then a warp multiplies every 8th chain; then a thread
// adds up the chains of an expert and a token. kNormed: tokens at most, that the block norms itself; 0: they are normed.
template <int kNormed>
__device__ __forceinline__ void sum_segment(const RouteTask& task, int segment, int first_expert, int first_token, SegmentShared& shared) {
  constexpr int kChains = kSegmentChains / kRouteWarps, kRows = kNormed > 0 ? kNormed : kTile;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, rows = min(task.tokens - first_token, kRows);
  const int first_chain = segment * kSegmentChains, chains = min(task.width / kChain - first_chain, kSegmentChains);
  int chain[kChains];  // those behind the last are the last once more, and are not added
  ExpertParts experts[kChains];
#pragma unroll
  for (int i = 0; i < kChains; i++) {
    chain[i] = min(warp + i * kRouteWarps, chains - 1);
    float4 of_experts[kChainSteps][2];
    load_experts(task, first_expert, first_chain + chain[i], of_experts);
    experts[i].set(of_experts);
  }
  const int quads = chains * kQuads, quad = first_chain * kQuads + min(static_cast<int>(threadIdx.x), quads - 1);
  float4 gain = {};
  if constexpr (kNormed > 0) gain = reinterpret_cast<const float4*>(task.norm)[quad];
  ptx::wait_for_previous_kernel();
  const float4* x[kRows];
#pragma unroll
  for (int t = 0; t < kRows; t++) x[t] = reinterpret_cast<const float4*>(task.x + static_cast<int64_t>(first_token + min(t, rows - 1)) * task.width);
  float inverse = 1;  // of the token of the lane's number
  if constexpr (kNormed > 0) inverse = inverse_root(x, task.width, task.eps, min(lane, kNormed - 1));
  uint4* parts = reinterpret_cast<uint4*>(&shared + 1);
  constexpr int kAtOnce = kRows < 4 ? kRows : 4;
#pragma unroll
  for (int first = 0; first < kRows; first += kAtOnce) {
    float4 values[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; i++) values[i] = x[first + i][quad];
#pragma unroll
    for (int i = 0; i < kAtOnce; i++) {
      const int t = first + i;
      if constexpr (kNormed > 0) values[i] = normed(values[i], __shfl_sync(kFullMask, inverse, t), gain);
      if (static_cast<int>(threadIdx.x) >= quads || t >= rows) continue;
      if (kNormed > 0 && first_expert == 0) reinterpret_cast<uint2*>(task.h)[static_cast<int64_t>(first_token + t) * (task.width / 4) + quad] = pack_bf16(values[i]);
      store_parts(values[i], parts + (threadIdx.x / kQuads * kParts * rows + t) * 4, rows * 4, threadIdx.x % kQuads);
    }
  }
  __syncthreads();
  TokenParts tokens[kChains];
#pragma unroll
  for (int i = 0; i < kChains; i++) tokens[i].load(parts + (chain[i] * kParts * rows + min(lane / 4, rows - 1)) * 4, rows * 4);
  float sums[kChains][4] = {};
  multiply_parts([&](int of_expert, int of_token, int step) {
#pragma unroll
    for (int i = 0; i < kChains; i++) ptx::mma_bf16(sums[i], experts[i].of[of_expert][step], tokens[i].of[of_token][step]);
  });
#pragma unroll
  for (int i = 0; i < kChains; i++) {
#pragma unroll
    for (int r = 0; r < 4; r++) shared.sums[warp + i * kRouteWarps][lane % 4 * 2 + (r & 1)][lane / 4 + 8 * (r >> 1)] = sums[i][r];
  }
  __syncthreads();
  const int t = threadIdx.x / kPanel, e = threadIdx.x % kPanel;
  if (t >= rows || first_expert + e >= task.experts) return;
  float sum = 0;
#pragma unroll 8
  for (int c = 0; c < chains; c++) sum += shared.sums[c][t][e];
  task.sums[(static_cast<int64_t>(segment) * task.tokens + first_token + t) * task.experts + first_expert + e] = sum;
}

// All of up to 64 tokens; blocks (segments of 16 experts, 8 tokens). counters: one for the blocks of each 8 tokens, and one for those that have chosen.
template <int kNormed>
__global__ void __launch_bounds__(kRouteThreads, 2) route_kernel(const RouteTask task, uint32_t* counters) {
  M2_DYNAMIC_SHARED(shared);  // what SegmentShared has, then what RouteShared has
  ptx::let_next_kernel_start();
  sum_segment<kNormed>(task, blockIdx.x % task.segments, blockIdx.x / task.segments * kPanel, blockIdx.y * kTile, *reinterpret_cast<SegmentShared*>(shared));
  if (!is_last_block(counters + blockIdx.y, gridDim.x)) return;
  const RouteShared s(shared, task);
  const Pairs pairs(task, 0);
  choose_experts(task, s, blockIdx.y * kTile, kTile);
  if (gridDim.y > 1) {
    if (!is_last_block(counters + gridDim.y, gridDim.y)) return;
    read_pairs(task, s, pairs);
  }
  count_pairs(task, s, pairs);
  sort_pairs(task, s, pairs, nullptr, 1);
}

// The sums of kPanels x 16 experts of each warp and kTiles x 8 tokens of the block over a segment; blocks (segments of experts, tokens).
template <int kPanels, int kTiles>
__global__ void __launch_bounds__(kRouteThreads, 2 / kPanels) route_sums_kernel(const RouteTask task) {
  constexpr int kTokens = kTiles * kTile, kExperts = kPanels * kPanel;
  constexpr int kLoads = kTokens * kQuads / kRouteThreads;  // of a thread, for a chain
  constexpr int kAtOnce = 4 / kPanels;                      // tiles: four chains take turns
  M2_SHARED(uint4, parts, [2][kParts][kTokens][4]);  // of two chains in turn; the fours of a lane in both steps
  ptx::let_next_kernel_start();
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, segment = blockIdx.x % task.segments;
  const int first_token = blockIdx.y * kTokens, first_expert = (blockIdx.x / task.segments * kRouteWarps + warp) * kExperts;
  const int first_chain = segment * kSegmentChains, end = min(first_chain + kSegmentChains, task.width / kChain);
  float4 gate[kPanels][kChainSteps][2], x[kLoads];
  const auto load_gate = [&](int chain) {
#pragma unroll
    for (int p = 0; p < kPanels; p++) load_experts(task, first_expert + p * kPanel, chain, gate[p]);
  };
  const auto load_tokens = [&](int chain) {
#pragma unroll
    for (int i = 0; i < kLoads; i++) {
      const int at = threadIdx.x + i * kRouteThreads, token = min(first_token + at / kQuads, task.tokens - 1);
      x[i] = *reinterpret_cast<const float4*>(task.x + static_cast<int64_t>(token) * task.width + chain * kChain + at % kQuads * 4);
    }
  };
  load_gate(first_chain);
  ptx::wait_for_previous_kernel();
  load_tokens(first_chain);
  float sums[kPanels][kTiles][4] = {};
  for (int chain = first_chain; chain < end; chain++) {
    auto& room = parts[chain % 2];
    ExpertParts experts[kPanels];
#pragma unroll
    for (int p = 0; p < kPanels; p++) experts[p].set(gate[p]);
#pragma unroll
    for (int i = 0; i < kLoads; i++) {
      const int at = threadIdx.x + i * kRouteThreads;
      store_parts(x[i], room[0][at / kQuads], kTokens * 4, at % kQuads);
    }
    __syncthreads();  // the parts are there; those of the chain before are read
#pragma unroll
    for (int first = 0; first < kTiles; first += kAtOnce) {
      if (first == kTiles / kAtOnce / 2 * kAtOnce && chain + 1 < end) {  // not before: registers
        load_gate(chain + 1);
        load_tokens(chain + 1);
      }
      TokenParts tokens[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; i++) tokens[i].load(room[0][(first + i) * kTile + lane / 4], kTokens * 4);
      float of_chain[kPanels][kAtOnce][4] = {};
      multiply_parts([&](int of_expert, int of_token, int step) {
#pragma unroll
        for (int p = 0; p < kPanels; p++) {
#pragma unroll
          for (int i = 0; i < kAtOnce; i++) ptx::mma_bf16(of_chain[p][i], experts[p].of[of_expert][step], tokens[i].of[of_token][step]);
        }
      });
#pragma unroll
      for (int p = 0; p < kPanels; p++) {
#pragma unroll
        for (int i = 0; i < kAtOnce; i++) {
#pragma unroll
          for (int r = 0; r < 4; r++) sums[p][first + i][r] += of_chain[p][i][r];
        }
      }
    }
  }
#pragma unroll
  for (int tile = 0; tile < kTiles; tile++) {
#pragma unroll
    for (int column = 0; column < 2; column++) {
      const int token = first_token + tile * kTile + lane % 4 * 2 + column;
      if (token >= task.tokens) continue;
      float* to = task.sums + (static_cast<int64_t>(segment) * task.tokens + token) * task.experts;
#pragma unroll
      for (int p = 0; p < kPanels; p++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const int expert = first_expert + p * kPanel + half * 8 + lane / 4;
          if (expert < task.experts) to[expert] = sums[p][tile][2 * half + column];
        }
      }
    }
  }
}

__global__ void __launch_bounds__(kRouteThreads) route_choose_kernel(const RouteTask task, int* block_counts) {
  M2_DYNAMIC_SHARED(shared);
  ptx::let_next_kernel_start();
  ptx::wait_for_previous_kernel();
  const RouteShared s(shared, task);
  choose_experts(task, s, blockIdx.x * kRouteTokens, kRouteTokens);
  count_pairs(task, s, Pairs(task, blockIdx.x));
  for (int e = threadIdx.x; e < task.experts; e += kRouteThreads) block_counts[static_cast<int64_t>(blockIdx.x) * task.experts + e] = s.counts[e];
}

__global__ void __launch_bounds__(kRouteThreads) route_sort_kernel(const RouteTask task, const int* block_counts, int blocks) {
  M2_DYNAMIC_SHARED(shared);
  ptx::let_next_kernel_start();
  ptx::wait_for_previous_kernel();
  const RouteShared s(shared, task);
  const Pairs pairs(task, blockIdx.x);
  read_pairs(task, s, pairs);
  sort_pairs(task, s, pairs, block_counts, blocks);
}

int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }
int64_t segments_of(int64_t width) { return parts(width, kChain * kSegmentChains); }

// Blocks that take so many experts and tokens each.
dim3 blocks_of(const RouteTask& task, int experts, int tokens) {
  return dim3(static_cast<unsigned>(task.segments * parts(task.experts, experts)), static_cast<unsigned>(parts(task.tokens, tokens)));
}

template <int kNormed>
void route_at_once(const Machine& m, const RouteTask& task) {
  const dim3 grid = blocks_of(task, kPanel, kTile);
  const size_t shared = std::max(SegmentShared::bytes(std::min<int64_t>(task.tokens, kTile)), RouteShared::bytes(task));
  launch<route_kernel<kNormed>>(m, {.grid = grid, .block = kRouteThreads, .shared = shared}, task, m.counters(grid.y + 1));
}

template <int kPanels, int kTiles>
dim3 sums_blocks(const RouteTask& task) {
  return blocks_of(task, kRouteWarps * kPanels * kPanel, kTiles * kTile);
}

void route_in_steps(const Machine& m, const RouteTask& task, int* block_counts) {
  const unsigned blocks = static_cast<unsigned>(parts(task.tokens, kRouteTokens));
  const Launch l{.grid = blocks, .block = kRouteThreads, .shared = RouteShared::bytes(task)};
  const dim3 large = sums_blocks<2, 8>(task);
  if (static_cast<int>(large.x * large.y) >= m.multiprocessors()) launch<route_sums_kernel<2, 8>>(m, {.grid = large, .block = kRouteThreads}, task);
  else launch<route_sums_kernel<1, 4>>(m, {.grid = sums_blocks<1, 4>(task), .block = kRouteThreads}, task);
  launch<route_choose_kernel>(m, l, task, block_counts);
  launch<route_sort_kernel>(m, l, task, block_counts, static_cast<int>(blocks));
}

// What route_in_steps needs: sums and, of each block, how many of its pairs go to each expert.
size_t sums_bytes(int64_t tokens, int64_t width, int64_t experts) { return segments_of(width) * tokens * experts * sizeof(float); }
size_t counts_bytes(int64_t tokens, int64_t experts) { return parts(tokens, kRouteTokens) * experts * sizeof(int); }

}  // namespace

size_t route_scratch(const Workload& w) { return sums_bytes(w.tokens, w.width, w.experts) + counts_bytes(w.tokens, w.experts); }

void route(const Machine& m, const RouteArgs& a) {
  const int64_t tokens = a.x.size(0), experts = a.gate.size(0), width = a.x.size(1);
  const size_t sums = sums_bytes(tokens, width, experts);
  uint8_t* scratch = static_cast<uint8_t*>(m.scratch(sums + counts_bytes(tokens, experts)));
  RouteTask task{a.x.as<float>(), a.norm.as<float>(), a.gate.as<float>(), bf16_data(a.h.data), static_cast<int>(width), a.eps, static_cast<int>(segments_of(width)),
                 reinterpret_cast<float*>(scratch), a.bias.as<float>(), a.live ? a.live.as<int32_t>() : nullptr, static_cast<int>(tokens), static_cast<int>(experts),
                 static_cast<int>(a.expert_ids.size(1)), a.expert_ids.as<int32_t>(), a.weights.as<float>(), a.offsets.as<int32_t>(), a.source.as<int32_t>(),
                 a.target.as<int32_t>()};
  if (tokens == 1) return route_at_once<1>(m, task);
  if (tokens <= 4) return route_at_once<4>(m, task);
  if (tokens <= 16) return route_at_once<8>(m, task);
  rms_norm(m, {a.x, {}, a.norm, a.eps, a.room, a.h});
  task.x = a.room.as<float>();
  if (tokens <= kRouteTokens) route_at_once<0>(m, task);
  else route_in_steps(m, task, reinterpret_cast<int*>(scratch + sums));
}

}  // namespace m2::cuda
