// form.h: shared_address.
#include "cuda/ptx/form.h"

#include "../case.h"

namespace m2::test {
namespace {

// Each thread's place relative to that of the array.
__global__ void shared_address_kernel(uint32_t* out) {
  M2_SHARED(uint64_t, place, [64]);
  out[threadIdx.x] = ptx::shared_address(&place[threadIdx.x]) - ptx::shared_address(place);
}

}  // namespace

CONFORMANCE("shared addresses", 80) {
  const DeviceArray<uint32_t> got(64);
  run_kernel<shared_address_kernel>({.grid = 1, .block = 64}, got.data());
  std::vector<uint32_t> truth = counting(64);
  for (uint32_t& x : truth) x *= 8;
  out.exact("shared_address", got.values(), truth);
}

}  // namespace m2::test
