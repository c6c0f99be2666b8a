// Sums over the threads of a warp and of a block, in an order that hangs on nothing but the number of threads.
#pragma once
#include "cuda/device.h"

namespace m2::cuda {

__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(kFullMask, value, step);
  return value;
}

// The sums of kSums values over the block, for every thread. `partial` is shared memory that nobody else uses; each block sums once.
template <int kThreads, int kSums>
__device__ __forceinline__ void block_sums(float (&values)[kSums], float (&partial)[kSums][kThreads / kWarp]) {
  constexpr int kWarps = kThreads / kWarp;
#pragma unroll
  for (int i = 0; i < kSums; i++) {
    const float sum = warp_sum(values[i]);
    if (threadIdx.x % kWarp == 0) partial[i][threadIdx.x / kWarp] = sum;
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kSums; i++) {
    values[i] = 0;
#pragma unroll
    for (int warp = 0; warp < kWarps; warp++) values[i] += partial[i][warp];
  }
}

}  // namespace m2::cuda
