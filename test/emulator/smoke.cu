#include <cstdio>
#include <vector>

#include "cuda/ptx/async_copy.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/launch.h"
#include "cuda/ptx/math.h"
#include "cuda/ptx/matrix.h"
#include "cuda/ptx/memory.h"
#include "cuda/ptx/mma.h"

namespace m2::cuda {

template <int kThreads>
__global__ void __launch_bounds__(kThreads) sum_kernel(const float* __restrict__ x, float* out, int n) {
  M2_DYNAMIC_SHARED(raw);
  float* tile = reinterpret_cast<float*>(raw);
  M2_SHARED(float, sums, [kThreads / kWarp]);
  const int thread = threadIdx.x;
  ptx::wait_for_previous_kernel();
  for (int i = thread; i < n / 4; i += kThreads) ptx::cp_async_16(ptx::shared_address(tile + 4 * i), x + 4 * i);
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
  __syncthreads();
  float sum = 0;
  for (int i = thread; i < n; i += kThreads) sum += tile[n - 1 - i];
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(kFullMask, sum, step);
  if (thread % kWarp == 0) sums[thread / kWarp] = sum;
  __syncthreads();
  if (thread == 0) {
    for (int i = 1; i < kThreads / kWarp; i++) sums[0] += sums[i];
    out[blockIdx.x] = sums[0];
  }
}

}  // namespace m2::cuda

int main() {
  using namespace m2::cuda;
  constexpr int kN = 1024;
  std::vector<float> x(kN);
  for (int i = 0; i < kN; i++) x[i] = static_cast<float>(i);
  float *dx, *dout, out[4];
  cudaMalloc(&dx, kN * 4);
  cudaMalloc(&dout, 16);
  cudaMemcpy(dx, x.data(), kN * 4, cudaMemcpyHostToDevice);
  cudaLaunchConfig_t config{};
  config.gridDim = 4;
  config.blockDim = 128;
  config.dynamicSmemBytes = kN * 4;
  m2::emulator::name_next_launch("sum_kernel<128>");
  cudaError_t error = cudaLaunchKernelEx(&config, sum_kernel<128>, static_cast<const float*>(dx), dout, kN);
  if (error == cudaSuccess) error = cudaMemcpy(out, dout, 16, cudaMemcpyDeviceToHost);
  std::printf("%s %g %g\n", cudaGetErrorString(error), out[0], out[3]);
  return error == cudaSuccess && out[3] == kN * (kN - 1) / 2 ? 0 : 1;
}
