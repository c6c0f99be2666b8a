// The best of a row without a sort of it. A bracket of ranks is cut into 256 parts, the ranks in each are counted, and the part in which the k-th best stands
// is the next bracket, until few enough are above its lower end. That is done with the largest of each group first: where k of them reach an end, k tokens do,
// and only their groups are read. What is left, at most 2048 ranks, is sorted in shared memory.
#pragma once
#include "cuda/sampling/groups.h"

namespace m2::cuda {

constexpr int kBins = 256;
constexpr int kRun = 64;                  // ranks that are sorted by counting
constexpr int kListed = 2 * kMostListed;  // ranks of a list: the best and whatever else its end lets in
constexpr int kSpareGroups = 32;          // beyond k that may reach an end; exactly k would take more rounds

struct RankBins {
  alignas(16) int counts[kBins];
  int bin, over;
};

struct RankList {
  uint64_t ranks[2][kListed];
  int count;
  RankBins bins;
};

// The bin in which the count-th from the top stands, and how many are over that bin; bin 0 if there are fewer. By one warp.
__device__ __forceinline__ void find_bin(RankBins& b, int count) {
  const int lane = threadIdx.x, highest = kBins - 1 - 8 * lane;  // a lane has eight bins
  const int4 *fours = reinterpret_cast<const int4*>(b.counts + highest - 7), low = fours[0], high = fours[1];
  const int own = low.x + low.y + low.z + low.w + high.x + high.y + high.z + high.w;
  int through = own;
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    const int before = __shfl_up_sync(kFullMask, through, step);
    if (lane >= step) through += before;
  }
  const unsigned reached = __ballot_sync(kFullMask, through >= count);
  if (lane != (reached ? __ffs(reached) - 1 : kWarp - 1)) return;
  int bin = highest, over = through - own;
  for (; bin > highest - 7 && over + b.counts[bin] < count; bin--) over += b.counts[bin];
  b.bin = bin;
  b.over = over;
}

// The lower end of a bracket low..high that still holds the `count` best of its ranks, and of all at most `enough`; where ranks are all different that can
// always be. each_rank(low, body) calls body for every rank from `low` on, and perhaps for others.
template <class EachRank>
__device__ __forceinline__ uint64_t find_end(RankBins& b, uint64_t low, uint64_t high, int count, int enough, const EachRank& each_rank) {
  int above = 0;  // how many are over what is left of the bracket
  while (true) {
    const int shift = max(0, 56 - __clzll(static_cast<long long>(high - low)));
    for (int i = threadIdx.x; i < kBins; i += blockDim.x) b.counts[i] = 0;
    __syncthreads();
    each_rank(low, [&](uint64_t rank) {
      if (rank >= low && rank <= high) atomicAdd(&b.counts[(rank - low) >> shift], 1);
    });
    __syncthreads();
    if (threadIdx.x < kWarp) find_bin(b, count - above);
    __syncthreads();
    low += static_cast<uint64_t>(b.bin) << shift;
    high = min(high, low + ((uint64_t{1} << shift) - 1));
    above += b.over;
    const bool ends = shift == 0 || above + b.counts[b.bin] <= enough;
    __syncthreads();  // all have read the bins
    if (ends) return low;
  }
}

// Lists the ranks in low..high, as far as there is room, in no order; how many there are.
template <bool kAdjusted>
__device__ __forceinline__ int collect_ranks(RankList& list, const Groups<kAdjusted>& groups, uint64_t low, uint64_t high) {
  const int lane = threadIdx.x % kWarp;
  if (threadIdx.x == 0) list.count = 0;
  __syncthreads();
  groups.each_rank(low, [&](uint64_t rank) {
    const bool found = rank >= low && rank <= high;
    const unsigned finders = __ballot_sync(kFullMask, found);
    if (finders == 0) return;
    int at = lane == 0 ? atomicAdd(&list.count, __popc(finders)) : 0;
    at = __shfl_sync(kFullMask, at, 0) + __popc(finders & ((1u << lane) - 1));
    if (found && at < kListed) list.ranks[0][at] = rank;
  });
  __syncthreads();
  return list.count;
}

// How many of `size` ranks, the best first, are better than `rank`.
__device__ __forceinline__ int count_better(const uint64_t* sorted, int size, uint64_t rank) {
  int low = 0, high = size;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (sorted[middle] > rank) low = middle + 1;
    else high = middle;
  }
  return low;
}

// The list's ranks, the best first. Runs of 64 are sorted by counting, then merged two and two: a rank's place is its place in its own run and the one
// that it would have in the other.
__device__ __forceinline__ const uint64_t* sort_ranks(RankList& list, int count) {
  int size = kRun;
  while (size < count) size *= 2;
  for (int i = count + threadIdx.x; i < size; i += blockDim.x) list.ranks[0][i] = i;  // below all that can come, and all different
  __syncthreads();
  const uint64_t* from = list.ranks[0];
  uint64_t* to = list.ranks[1];
  for (int i = threadIdx.x; i < size; i += blockDim.x) {
    const uint64_t rank = from[i];
    const int run = i / kRun * kRun;
    int at = run;
    for (int j = run; j < run + kRun; j++) at += from[j] > rank;
    to[at] = rank;
  }
  __syncthreads();
  for (int width = kRun; width < size; width *= 2) {
    from = to;
    to = to == list.ranks[1] ? list.ranks[0] : list.ranks[1];
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
      const int pair = i & -2 * width, other = (i ^ width) & -width;  // where both runs begin, and where the other does
      to[pair + (i & (width - 1)) + count_better(from + other, width, from[i])] = from[i];
    }
    __syncthreads();
  }
  return to;
}

// The `count` best, at most kMostListed, of the ranks that can come and are not above `high`; found: how many they are, less if there are no more.
template <bool kAdjusted>
__device__ __forceinline__ const uint64_t* list_best(RankList& list, const Groups<kAdjusted>& groups, const RowFacts& facts, uint64_t high, int count,
                                                     int& found) {
  uint64_t low = kLowestRank;
  if (high == highest_rank(facts.top) && static_cast<int>(facts.usable) > count) {
    low = find_end(list.bins, uint64_t{~facts.least} << 32, high, count, count + kSpareGroups, [&](uint64_t, const auto& body) {
      for (int g = threadIdx.x; g < groups.count; g += blockDim.x) body(uint64_t{groups.keys[g]} << 32);
    });
  }
  found = collect_ranks(list, groups, low, high);
  if (found > kListed) {
    low = find_end(list.bins, low, high, count, kListed, [&](uint64_t from, const auto& body) { groups.each_rank(from, body); });
    found = collect_ranks(list, groups, low, high);
  }
  const uint64_t* sorted = sort_ranks(list, found);
  found = min(found, count);
  return sorted;
}

}  // namespace m2::cuda
