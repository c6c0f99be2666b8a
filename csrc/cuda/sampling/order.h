// The order of a row's tokens: by score, the largest first, then by id, the lowest first. Scores become integers of that order. Reductions over a warp and
// a block (of any multiple of 32 threads up to 1024) give every thread the same, in an order that hangs on the number of threads alone.
#pragma once
#include "cuda/device.h"

namespace m2::cuda {

constexpr uint32_t kNever = 0x007fffff;  // key of -inf: what cannot come
constexpr uint32_t kInfiniteKey = 0xff800000;
constexpr uint32_t kNanKey = 0xffffffff;  // above all others

__device__ __forceinline__ uint32_t score_key(float score) {
  if (score != score) return kNanKey;
  const uint32_t bits = __float_as_uint(score + 0.f);  // -0 is 0
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float key_score(uint32_t key) { return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key); }

// A rank is a score and an id; all ranks of a row are different. 0 is nobody's, and has the id -1.
constexpr uint64_t kLowestRank = (uint64_t{kNever} + 1) << 32;  // of what can come
__device__ __forceinline__ uint64_t rank_of(uint32_t key, int id) { return uint64_t{key} << 32 | ~static_cast<uint32_t>(id); }
__device__ __forceinline__ uint32_t rank_key(uint64_t rank) { return static_cast<uint32_t>(rank >> 32); }
__device__ __forceinline__ float rank_score(uint64_t rank) { return key_score(rank_key(rank)); }
__device__ __forceinline__ int rank_id(uint64_t rank) { return static_cast<int>(~static_cast<uint32_t>(rank)); }
__device__ __forceinline__ uint64_t highest_rank(uint32_t key) { return uint64_t{key} << 32 | 0xffffffffu; }

// The largest of some numbers and the rank that has it; among equals that of the lowest id.
struct alignas(16) Best {  // moved in one piece
  uint64_t order = 0;  // the number as an integer of its order; 0: none yet
  uint64_t rank = 0;

  __device__ __forceinline__ void offer(double number, uint64_t of) {
    const uint64_t bits = static_cast<uint64_t>(__double_as_longlong(number + 0.)), key = bits >> 63 ? ~bits : bits | uint64_t{1} << 63;
    if (key < order || (key == order && static_cast<uint32_t>(of) < static_cast<uint32_t>(rank))) return;
    order = key;
    rank = of;
  }
  __device__ __forceinline__ double number() const {
    const uint64_t bits = order >> 63 ? order & ~(uint64_t{1} << 63) : ~order;
    return order == 0 ? -static_cast<double>(__builtin_inff()) : __longlong_as_double(static_cast<long long>(bits));
  }
};

__device__ __forceinline__ Best warp_best(const Best& best) {
  const uint32_t high = static_cast<uint32_t>(best.order >> 32), highest = __reduce_max_sync(kFullMask, high);
  const uint32_t low = high == highest ? static_cast<uint32_t>(best.order) : 0, lowest = __reduce_max_sync(kFullMask, low);
  const bool leads = high == highest && low == lowest;
  // Of those that lead the lowest id, whose complement is the largest.
  const uint32_t id = __reduce_max_sync(kFullMask, leads ? static_cast<uint32_t>(best.rank) : 0);
  const unsigned winners = __ballot_sync(kFullMask, leads && static_cast<uint32_t>(best.rank) == id);
  const uint32_t key = __shfl_sync(kFullMask, rank_key(best.rank), __ffs(winners) - 1);
  return {uint64_t{highest} << 32 | lowest, uint64_t{key} << 32 | id};
}

__device__ __forceinline__ double warp_total(double value) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(kFullMask, value, step);
  return value;
}

// `reduce`, which is one of a warp, over the block. `partial` is shared memory that holds nothing else.
template <class T, class Reduce>
__device__ __forceinline__ T block_reduce(const T& value, T (&partial)[kWarp], const Reduce& reduce) {
  const T of_warp = reduce(value);
  __syncthreads();  // all have read what the reduction before left
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = of_warp;
  __syncthreads();
  return reduce(threadIdx.x % kWarp < blockDim.x / kWarp ? partial[threadIdx.x % kWarp] : T());
}

}  // namespace m2::cuda
