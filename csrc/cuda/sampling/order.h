// The order of a row's tokens: by score, the largest first, then by id, the lowest first. Scores become integers of that order, and reductions of them over
// a warp and a block, whose threads may be any multiple of 32 up to 1024, come out the same on all threads and at any block size.
#pragma once
#include "cuda/device.h"

namespace m2::cuda {

constexpr uint32_t kNever = 0x007fffff;     // key of -inf: cannot come
constexpr uint32_t kInfiniteKey = 0xff800000;
constexpr uint32_t kNanKey = 0xffffffff;    // above all others
constexpr uint64_t kLowestRank = (uint64_t{kNever} + 1) << 32;  // of what can come

__device__ __forceinline__ uint32_t score_key(float score) {
  if (score != score) return kNanKey;
  const uint32_t bits = __float_as_uint(score + 0.f);  // -0 is 0
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float key_score(uint32_t key) { return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key); }

// A rank says score and id; all ranks of a row are different.
__device__ __forceinline__ uint64_t rank_of(uint32_t key, int id) { return uint64_t{key} << 32 | ~static_cast<uint32_t>(id); }
__device__ __forceinline__ uint32_t rank_key(uint64_t rank) { return static_cast<uint32_t>(rank >> 32); }
__device__ __forceinline__ float rank_score(uint64_t rank) { return key_score(rank_key(rank)); }
__device__ __forceinline__ int rank_id(uint64_t rank) { return static_cast<int>(~static_cast<uint32_t>(rank)); }

// The largest of some numbers, and which rank has it; among equals the lowest id.
struct Best {
  uint64_t order = 0;  // the number as an integer of its order; 0: none yet
  uint64_t rank = 0;

  __device__ __forceinline__ void offer(double number, uint64_t of) {
    const uint64_t bits = static_cast<uint64_t>(__double_as_longlong(number + 0.)), key = bits >> 63 ? ~bits : bits | uint64_t{1} << 63;
    if (key > order || (key == order && static_cast<uint32_t>(of) > static_cast<uint32_t>(rank))) {
      order = key;
      rank = of;
    }
  }
  __device__ __forceinline__ double number() const {
    return order == 0 ? -__longlong_as_double(0x7ff0000000000000) : __longlong_as_double(static_cast<long long>(order >> 63 ? order & ~(uint64_t{1} << 63) : ~order));
  }
};

__device__ __forceinline__ uint64_t warp_max(uint64_t value) {
  const uint32_t high = static_cast<uint32_t>(value >> 32), highest = __reduce_max_sync(kFullMask, high);
  return uint64_t{highest} << 32 | __reduce_max_sync(kFullMask, high == highest ? static_cast<uint32_t>(value) : 0);
}

__device__ __forceinline__ Best warp_best(const Best& best) {
  Best all;
  all.order = warp_max(best.order);
  // Of the best the lowest id, whose complement is the largest.
  const uint32_t id = __reduce_max_sync(kFullMask, best.order == all.order ? static_cast<uint32_t>(best.rank) : 0);
  const unsigned owners = __ballot_sync(kFullMask, best.order == all.order && static_cast<uint32_t>(best.rank) == id);
  all.rank = uint64_t{__shfl_sync(kFullMask, rank_key(best.rank), __ffs(owners) - 1)} << 32 | id;
  return all;
}

__device__ __forceinline__ double warp_total(double value) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(kFullMask, value, step);
  return value;
}

// `reduce`, of a warp, over the whole block. `partial` is shared memory that holds nothing else.
template <class T, class Reduce>
__device__ __forceinline__ T block_reduce(const T& value, T (&partial)[kWarp], const Reduce& reduce) {
  const T of_warp = reduce(value);
  __syncthreads();  // everybody is done with what the last reduction left
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = of_warp;
  __syncthreads();
  return reduce(threadIdx.x % kWarp < blockDim.x / kWarp ? partial[threadIdx.x % kWarp] : T());
}

}  // namespace m2::cuda
