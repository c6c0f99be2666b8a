// elect.h: elect_one. Which lane it is the hardware decides.
#include "cuda/ptx/elect.h"

#include "../case.h"

namespace m2::test {
namespace {

__global__ void elect_kernel(uint32_t* out) {
  const uint32_t first = __ballot_sync(cuda::kFullMask, ptx::elect_one()), second = __ballot_sync(cuda::kFullMask, ptx::elect_one());
  if (threadIdx.x % 32 == 0) {
    out[threadIdx.x / 32 * 2] = __popc(first);
    out[threadIdx.x / 32 * 2 + 1] = first == second;
  }
}

}  // namespace

CONFORMANCE("elect", 90) {
  const DeviceArray<uint32_t> got(8);
  run_kernel<elect_kernel>({.grid = 1, .block = 128}, got.data());
  out.exact("elect_one", got.values(), std::vector<uint32_t>(8, 1));
}

}  // namespace m2::test
