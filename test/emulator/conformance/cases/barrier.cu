// barrier.h: barrier_sync, barrier_arrive.
#include "cuda/ptx/barrier.h"

#include "../case.h"

namespace m2::test {
namespace {

// Warps 0 and 1 make values, warps 2 and 3 use them in another order; a slot is full (barrier 1) and empty (barrier 2) in turn.
__global__ void barrier_kernel(uint32_t* out, int rounds) {
  M2_SHARED(uint32_t, slot, [64]);
  const int t = threadIdx.x;
  for (int i = 0; i < rounds; i++) {
    if (t < 64) {
      if (i > 0) ptx::barrier_sync(2, 128);
      slot[t] = i * 1000 + t;
      ptx::barrier_arrive(1, 128);
    } else {
      ptx::barrier_sync(1, 128);
      out[i * 64 + t - 64] = slot[127 - t];
      if (i + 1 < rounds) ptx::barrier_arrive(2, 128);
    }
  }
}

}  // namespace

CONFORMANCE("named barriers", 80) {
  constexpr int kRounds = 5;
  const DeviceArray<uint32_t> got(kRounds * 64);
  run_kernel<barrier_kernel>({.grid = 1, .block = 128}, got.data(), kRounds);
  std::vector<uint32_t> truth;
  for (uint32_t i = 0; i < kRounds * 64; i++) truth.push_back(i / 64 * 1000 + 63 - i % 64);
  out.exact("barrier", got.values(), truth);
}

}  // namespace m2::test
