// launch.h: wait_for_previous_kernel, let_next_kernel_start.
#include "cuda/ptx/launch.h"

#include "../case.h"

namespace m2::test {
namespace {

// Reads what other blocks of the kernel before it wrote.
__global__ void step_kernel(uint32_t* to, const uint32_t* from, uint32_t count) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  ptx::let_next_kernel_start();
  ptx::wait_for_previous_kernel();
  to[i] = 3 * from[count - 1 - i] + i;
}

}  // namespace

CONFORMANCE("programmatic dependent launch", 80) {
  constexpr uint32_t kCount = 512, kSteps = 8;
  std::vector<uint32_t> truth = scattered(kCount);
  const DeviceArray<uint32_t> a(truth), b(kCount);
  cudaDeviceProp properties;
  succeed(cudaGetDeviceProperties(&properties, 0));
  uint32_t *from = a.data(), *to = b.data();
  for (uint32_t step = 0; step < kSteps; step++) {
    succeed(start<step_kernel>({.grid = 4, .block = kCount / 4, .overlaps = properties.major >= 9}, to, from, kCount));
    std::swap(from, to);
    const std::vector<uint32_t> before = truth;
    for (uint32_t i = 0; i < kCount; i++) truth[i] = 3 * before[kCount - 1 - i] + i;
  }
  succeed(cudaDeviceSynchronize());
  out.exact("dependent_launch", a.values(), truth);
}

}  // namespace m2::test
