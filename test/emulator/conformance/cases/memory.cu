// memory.h: ld_global_streaming, prefetch_l2, ld_acquire, st_release, atomic_add_acquire_release, red_add_release.
#include "cuda/ptx/memory.h"

#include <algorithm>

#include "../case.h"

namespace m2::test {
namespace {

__global__ void streaming_kernel(uint4* out, const uint4* in) {
  ptx::prefetch_l2(in + threadIdx.x);
  out[threadIdx.x] = ptx::ld_global_streaming(in + 31 - threadIdx.x);
}

__global__ void prefetch_kernel(uint32_t* out) {
  ptx::prefetch_l2(nullptr);
  ptx::prefetch_l2(out + (size_t{1} << 40));
  out[threadIdx.x] = threadIdx.x;
}

// Block 0 writes data and then a flag, block 1 reads the flag and then the data, and answers in the same way.
__global__ void flags_kernel(uint32_t* out, uint32_t* data, uint32_t* flags) {
  const int t = threadIdx.x;
  if (blockIdx.x == 0) {
    data[t] = 100 + t;
    __syncthreads();
    if (t == 0) {
      ptx::st_release(&flags[0], 7);
      while (ptx::ld_acquire(&flags[1]) < 2) __nanosleep(20);
    }
    __syncthreads();
    out[64 + t] = data[64 + t];
  } else {
    if (t == 0) {
      while (ptx::ld_acquire(&flags[0]) != 7) __nanosleep(20);
    }
    __syncthreads();
    out[t] = data[63 - t];
    data[64 + t] = 200 + t;
    __syncthreads();
    if (t == 0) ptx::red_add_release(&flags[1], 1);
    if (t == 0) ptx::red_add_release(&flags[1], 1);
  }
}

__global__ void counts_kernel(uint32_t* before, uint32_t* counters) {
  before[blockIdx.x * blockDim.x + threadIdx.x] = ptx::atomic_add_acquire_release(&counters[0], 3);
  ptx::red_add_release(&counters[1], threadIdx.x);
}

}  // namespace

CONFORMANCE("ld.global.nc and prefetch", 80) {
  const std::vector<uint32_t> in = scattered(128);
  const DeviceArray<uint32_t> given(in), got(128);
  run_kernel<streaming_kernel>({.grid = 1, .block = 32}, reinterpret_cast<uint4*>(got.data()), reinterpret_cast<const uint4*>(given.data()));
  std::vector<uint32_t> truth;
  for (size_t i = 0; i < 128; i++) truth.push_back(in[(31 - i / 4) * 4 + i % 4]);
  out.exact("ld_global_streaming", got.values(), truth);
}

CONFORMANCE("prefetch of addresses that are none", 80) {
  const DeviceArray<uint32_t> got(32);
  run_kernel<prefetch_kernel>({.grid = 1, .block = 32}, got.data());
  out.exact("prefetch_l2", got.values(), counting(32));
}

CONFORMANCE("acquire and release", 80) {
  const DeviceArray<uint32_t> data(128), flags(std::vector<uint32_t>{0, 0}), got(128);
  run_kernel<flags_kernel>({.grid = 2, .block = 64, .cooperative = true}, got.data(), data.data(), flags.data());
  std::vector<uint32_t> truth;
  for (uint32_t t = 0; t < 64; t++) truth.push_back(163 - t);
  for (uint32_t t = 0; t < 64; t++) truth.push_back(200 + t);
  out.exact("acquire_release", got.values(), truth);
}

CONFORMANCE("atomic sums", 80) {
  const DeviceArray<uint32_t> before(4 * 64), counters(std::vector<uint32_t>{5, 0xffffff00u});
  run_kernel<counts_kernel>({.grid = 4, .block = 64}, before.data(), counters.data());
  std::vector<uint32_t> seen = before.values(), truth;
  std::sort(seen.begin(), seen.end());
  for (uint32_t i = 0; i < 256; i++) truth.push_back(5 + 3 * i);
  out.exact("atomic_add_acquire_release", seen, truth);
  out.exact("red_add_release", counters.values(), {5 + 3 * 256, 0xffffff00u + 4 * (64 * 63 / 2)});
}

}  // namespace m2::test
