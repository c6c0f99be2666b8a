// The best of a row without a sort of it. A bracket of ranks is cut into 256 parts, the ranks in each are counted, and the part in which the k-th best stands is
// the next bracket, until few enough are above its lower end. That is done on the largest of each group first: as many groups as reach the end have a token
// there each, and only those groups are read. What is left, at most 2048 ranks, is sorted in shared memory.
#pragma once
#include "cuda/sampling/scores.h"

namespace m2::cuda {

constexpr int kBins = 256;
constexpr int kRun = 64;                // ranks that are sorted by counting
constexpr int kListed = 2 * kMostListed;  // ranks in a list, the surplus over the best wanted included
constexpr int kSpareGroups = 32;        // more than the k best of the groups' largest may be above the end: one pass does then

struct Bins {
  alignas(16) int counts[kBins];
  int bin, over;
};

struct List {
  alignas(16) uint64_t ranks[2][kListed];
  int count;
  Bins bins;
};

// A bracket for the best of a row, from its groups' largest.
struct Facts {
  uint32_t top = 0;        // the largest key; kNanKey if there is a NaN
  uint32_t bottom = 0;     // the complement of the least largest key of a group in which anything can come
  uint32_t usable = 0;     // how many such groups
  uint32_t top_logit = 0;  // as top, of the logits

  __device__ __forceinline__ void add(uint32_t key, uint32_t logit_key) {
    top = max(top, key);
    top_logit = max(top_logit, logit_key);
    if (key <= kNever) return;
    bottom = max(bottom, ~key);
    usable++;
  }
  static __device__ __forceinline__ Facts of_warp(const Facts& f) {
    return {__reduce_max_sync(kFullMask, f.top), __reduce_max_sync(kFullMask, f.bottom), __reduce_add_sync(kFullMask, f.usable), __reduce_max_sync(kFullMask, f.top_logit)};
  }
};

// Calls body(group, four scores or logits of this lane) with a warp for each group that is wanted(group). Which warp, and in which order, hangs on V and on what is wanted
// alone. The numbers of the next group are on their way meanwhile.
template <bool kAdjusted, class Wanted, class Body>
__device__ __forceinline__ void each_group(const Row& row, int groups, const Wanted& wanted, const Body& body) {
  const int warps = blockDim.x / kWarp, lane = threadIdx.x % kWarp;
  for (int begin = threadIdx.x / kWarp; begin < groups; begin += warps * kWarp) {
    const int own = begin + lane * warps;
    unsigned left = __ballot_sync(kFullMask, own < groups && wanted(own));
    int group = begin + (__ffs(left) - 1) * warps;
    float next[4];
    if (left) row.load(group, next);
    while (left) {
      float x[4] = {next[0], next[1], next[2], next[3]};
      const int now = group;
      left &= left - 1;
      group = begin + (__ffs(left) - 1) * warps;
      if (left) row.load(group, next);
      if constexpr (kAdjusted) row.adjust(now, x);
      body(now, x);
    }
  }
}

// The bin in which the count-th from the top stands, and how many are over it; bin 0 if there are fewer. By one warp.
__device__ __forceinline__ void find_bin(Bins& b, int count) {
  const int lane = threadIdx.x % kWarp, highest = kBins - 1 - 8 * lane;  // a lane has eight bins
  const int4 *four = reinterpret_cast<const int4*>(b.counts + highest - 7), low = four[0], high = four[1];
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

// The lower end of a bracket that holds the `count` best of the ranks in low..high and at most `enough` ranks, if that can be: else exactly the best `count`.
// All of low..high if they are fewer. each(low, body) calls body(rank) for every rank from `low` on, and perhaps for others.
template <class Each>
__device__ __forceinline__ uint64_t find_end(Bins& b, uint64_t low, uint64_t high, int count, int enough, const Each& each) {
  int above = 0;  // how many are over the bracket
  while (true) {
    const int shift = max(0, 56 - __clzll(static_cast<long long>(high - low)));
    for (int i = threadIdx.x; i < kBins; i += blockDim.x) b.counts[i] = 0;
    __syncthreads();
    each(low, [&](uint64_t rank) {
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

template <bool kAdjusted>
__device__ __forceinline__ uint64_t find_end_of_row(Bins& b, const Row& row, const uint32_t* keys, int groups, uint64_t low, uint64_t high, int count, int enough) {
  return find_end(b, low, high, count, enough, [&](uint64_t from, const auto& body) {
    each_group<kAdjusted>(row, groups, [&](int g) { return keys[g] >= rank_key(from); }, [&](int g, const float(&x)[4]) {
#pragma unroll
      for (int i = 0; i < 4; i++) body(rank_of(score_key(x[i]), first_id(g) + i));
    });
  });
}

// Lists the ranks in low..high in any order, as far as there is room; how many there are.
template <bool kAdjusted>
__device__ __forceinline__ int collect(List& list, const Row& row, const uint32_t* keys, int groups, uint64_t low, uint64_t high) {
  const unsigned before = (1u << threadIdx.x % kWarp) - 1;
  if (threadIdx.x == 0) list.count = 0;
  __syncthreads();
  each_group<kAdjusted>(row, groups, [&](int g) { return keys[g] >= rank_key(low); }, [&](int g, const float(&x)[4]) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const uint64_t rank = rank_of(score_key(x[i]), first_id(g) + i);
      const bool found = rank >= low && rank <= high;
      const unsigned finders = __ballot_sync(kFullMask, found);
      if (finders == 0) continue;
      int at = threadIdx.x % kWarp == 0 ? atomicAdd(&list.count, __popc(finders)) : 0;
      at = __shfl_sync(kFullMask, at, 0) + __popc(finders & before);
      if (found && at < kListed) list.ranks[0][at] = rank;
    }
  });
  __syncthreads();
  return list.count;
}

// How many of `size` sorted ranks are above `rank`.
__device__ __forceinline__ int count_above(const uint64_t* sorted, int size, uint64_t rank) {
  int low = 0, high = size;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (sorted[middle] > rank) low = middle + 1;
    else high = middle;
  }
  return low;
}

// The `count` ranks of the list, the best first. Runs of 64 are sorted by counting, then merged two and two: the place of a rank is its place in its own run and
// that it would have in the other.
__device__ __forceinline__ const uint64_t* sort(List& list, int count) {
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
      const int other = (i ^ width) & -width;  // the first of the neighbouring run
      to[(i & -2 * width) + (i & (width - 1)) + count_above(from + other, width, from[i])] = from[i];
    }
    __syncthreads();
  }
  return to;
}

// The `count` best ranks that are not above `high`, the best first: at most kMostListed. Found: how many there are, where there are fewer.
template <bool kAdjusted>
__device__ __forceinline__ const uint64_t* list_best(List& list, const Row& row, const uint32_t* keys, int groups, const Facts& facts, uint64_t high, int count, int& found) {
  const bool whole = rank_key(high) == facts.top;  // nothing is above `high`: what is known of the groups holds
  uint64_t low = kLowestRank;
  if (whole && static_cast<int>(facts.usable) > count) {
    low = find_end(list.bins, uint64_t{~facts.bottom} << 32, high, count, count + kSpareGroups, [&](uint64_t, const auto& body) {
      for (int g = threadIdx.x; g < groups; g += blockDim.x) body(uint64_t{keys[g]} << 32);
    });
  }
  found = collect<kAdjusted>(list, row, keys, groups, low, high);
  if (found > kListed) {
    low = find_end_of_row<kAdjusted>(list.bins, row, keys, groups, low, high, count, kListed);
    found = collect<kAdjusted>(list, row, keys, groups, low, high);
  }
  const uint64_t* sorted = sort(list, found);
  found = min(found, count);
  return sorted;
}

}  // namespace m2::cuda
