// Barriers of blocks and grids: what they order, and deadlocks in words.
#include "../device_test.h"
#include "cuda/ptx/barrier.h"

namespace m2::test {
namespace {

__global__ void counts_kernel(int* out) {
  const int t = threadIdx.x;
  out[t] = __syncthreads_count(t % 3 == 0) * 100 + __syncthreads_and(t < 1000) * 10 + __syncthreads_or(t == 77);
}

// Warps 0 and 1 make, warps 2 and 3 use, by two named barriers and two slots.
__global__ void relay_kernel(int* out, int rounds) {
  M2_SHARED(int, slot, [2][64]);
  const int t = threadIdx.x;
  for (int i = 0; i < rounds; i++) {
    if (t < 64) {
      if (i >= 2) cuda::ptx::barrier_sync(3 + i % 2, 128);
      slot[i % 2][t] = i * 64 + t;
      cuda::ptx::barrier_arrive(1 + i % 2, 128);
    } else {
      cuda::ptx::barrier_sync(1 + i % 2, 128);
      out[i * 64 + t - 64] = slot[i % 2][127 - t];
      cuda::ptx::barrier_arrive(3 + i % 2, 128);
    }
  }
  if (t < 64) {
    cuda::ptx::barrier_sync(3 + rounds % 2, 128);
    cuda::ptx::barrier_sync(3 + (rounds + 1) % 2, 128);
  }
}

__global__ void early_exit_kernel(int* out) {
  M2_SHARED(int, x, [64]);
  if (threadIdx.x >= 64) return;
  x[threadIdx.x] = threadIdx.x;
  __syncthreads();
  out[threadIdx.x] = x[63 - threadIdx.x];
}

__global__ void never_met_kernel() {
  if (threadIdx.x < 32) cuda::ptx::barrier_sync(1, 64);
}
__global__ void two_counts_kernel() { cuda::ptx::barrier_sync(1, threadIdx.x < 32 ? 64 : 96); }
__global__ void no_warps_kernel() { cuda::ptx::barrier_sync(1, 33); }

__global__ void grid_barrier_kernel(int* arrived, int* out) {
  out[blockIdx.x * blockDim.x + threadIdx.x] = 1 + blockIdx.x;
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    atomicAdd(arrived, 1);
    while (atomicAdd(arrived, 0) < static_cast<int>(gridDim.x)) __nanosleep(20);
    __threadfence();
  }
  __syncthreads();
  const int other = (blockIdx.x + 1) % gridDim.x;
  out[(gridDim.x + blockIdx.x) * blockDim.x + threadIdx.x] = out[other * blockDim.x + threadIdx.x];
}

// No poll, no barrier: only atomics in a row.
__global__ void spin_on_atomic_kernel(int* flag) {
  if (threadIdx.x == 0) {
    while (atomicAdd(flag, 0) == 0) {
    }
  } else if (threadIdx.x == 1) {
    atomicExch(flag, 1);
  }
}

}  // namespace

CASE("barriers: reductions") {
  for_each_seed([] {
    const DeviceArray<int> out(96);
    run_kernel<counts_kernel>({.grid = 1, .block = 96}, out.data());
    for (int x : out.values()) EXPECT(x == 32 * 100 + 10 + 1, x);
  });
}

CASE("barriers: named ones hand on slots") {
  for_each_seed([] {
    constexpr int kRounds = 7;
    const DeviceArray<int> out(kRounds * 64);
    run_kernel<relay_kernel>({.grid = 1, .block = 128}, out.data(), kRounds);
    for (int i = 0; i < kRounds * 64; i++) EXPECT(out.values()[i] == i / 64 * 64 + 63 - i % 64);
  });
}

CASE("barriers: threads that have ended are not waited for") {
  for_each_seed([] {
    const DeviceArray<int> out(64);
    run_kernel<early_exit_kernel>({.grid = 1, .block = 128}, out.data());
    for (int i = 0; i < 64; i++) EXPECT(out.values()[i] == 63 - i);
  });
}

CASE("barriers: what cannot be is said") {
  for_each_seed([] {
    EXPECT(contains(report_of<never_met_kernel>({.grid = 1, .block = 64}), "32 threads: barrier 0x1"));
    EXPECT(contains(report_of<two_counts_kernel>({.grid = 1, .block = 96}), "by an earlier arrival"));
    EXPECT(contains(report_of<no_warps_kernel>({.grid = 1, .block = 64}), "no whole warps"));
  });
}

CASE("barriers: of a grid, where all blocks are resident") {
  for_each_seed([] {
    const DeviceArray<int> arrived(std::vector<int>{0}), out(2 * 6 * 64);
    run_kernel<grid_barrier_kernel>({.grid = 6, .block = 64, .cooperative = true}, arrived.data(), out.data());
    const std::vector<int> got = out.values();
    for (int i = 0; i < 6 * 64; i++) EXPECT(got[6 * 64 + i] == 1 + (i / 64 + 1) % 6);
  });
}

CASE("barriers: of a grid whose blocks are not resident") {
  for_each_seed([] {
    const DeviceArray<int> arrived(std::vector<int>{0}), out(2 * 6 * 64);
    const std::string report = report_of<grid_barrier_kernel>({.grid = 6, .block = 64}, arrived.data(), out.data());
    EXPECT(contains(report, "livelock"), report);
    EXPECT(contains(report, "not resident"), report);
  }, 4);
  EXPECT(start<grid_barrier_kernel>({.grid = 1000, .block = 1024, .cooperative = true}, nullptr, nullptr) == cudaErrorCooperativeLaunchTooLarge);
}

CASE("barriers: a loop of atomics lets others run") {
  for_each_seed([] {
    const DeviceArray<int> flag(std::vector<int>{0});
    run_kernel<spin_on_atomic_kernel>({.grid = 1, .block = 32}, flag.data());
  });
}

}  // namespace m2::test
