// out[row] = x[row] / sqrt(mean(x[row]^2) + eps), one block a row: a reduction through shared memory.
#pragma once
#include "cuda/device.h"

namespace m2::test {

enum class RowNormBug { kNone, kNoBarrier };

template <int kThreads, RowNormBug kBug = RowNormBug::kNone>
__global__ void __launch_bounds__(kThreads) row_norm_kernel(float* __restrict__ out, const float* __restrict__ x, int width, float eps) {
  M2_SHARED(float, sums, [kThreads / cuda::kWarp]);
  const int thread = threadIdx.x;
  const float4* row = reinterpret_cast<const float4*>(x + static_cast<size_t>(blockIdx.x) * width);
  float sum = 0;
  for (int i = thread; i < width / 4; i += kThreads) {
    const float4 v = row[i];
    sum += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
  }
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(cuda::kFullMask, sum, step);
  if (thread % cuda::kWarp == 0) sums[thread / cuda::kWarp] = sum;
  if (kBug != RowNormBug::kNoBarrier) __syncthreads();
  float total = 0;
  for (int i = 0; i < kThreads / cuda::kWarp; i++) total += sums[i];
  const float scale = rsqrtf(total / width + eps);
  for (int i = thread; i < width; i += kThreads) out[static_cast<size_t>(blockIdx.x) * width + i] = x[static_cast<size_t>(blockIdx.x) * width + i] * scale;
}

}  // namespace m2::test
