// bulk.h: bulk_load, bulk_load_streaming, bulk_copy_to_block, bulk_store, bulk_add_f32, bulk_commit, bulk_wait, bulk_wait_read.
#include "cuda/ptx/bulk.h"

#include <cmath>

#include "../case.h"
#include "cuda/ptx/cluster.h"
#include "cuda/ptx/mbarrier.h"

namespace m2::test {
namespace {

constexpr int kPieces = 64;  // of 16 bytes

// Three loads of different sizes, counted by one mbarrier.
__global__ void load_kernel(uint32_t* out, const uint32_t* in) {
  M2_SHARED(uint4, landing, [kPieces]);
  M2_SHARED(uint64_t, barrier, [1]);
  const uint32_t bar = ptx::shared_address(barrier), to = ptx::shared_address(landing);
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(bar, 1);
    ptx::fence_mbarrier_init();
    ptx::mbarrier_arrive_expect_bytes(bar, kPieces * 16);
    ptx::bulk_load(to, in, 16, bar);
    ptx::bulk_load_streaming(to + 16, in + 4, 240, bar);
    ptx::bulk_load(to + 256, in + 64, kPieces * 16 - 256, bar);
  }
  __syncthreads();
  ptx::mbarrier_wait(bar, 0);
  const uint4 v = landing[kPieces - 1 - threadIdx.x];
  out[threadIdx.x] = v.x + 3 * v.y + 5 * v.z + 7 * v.w;
}

// Each block of a cluster gives its values to the next one.
__global__ void to_block_kernel(uint32_t* out) {
  M2_SHARED(uint4, values, [32]);
  M2_SHARED(uint4, landing, [32]);
  M2_SHARED(uint64_t, barrier, [1]);
  const uint32_t t = threadIdx.x, bar = ptx::shared_address(barrier), next = (ptx::cluster_rank() + 1) % ptx::cluster_blocks();
  values[t] = make_uint4(blockIdx.x, t, blockIdx.x * t, 7);
  ptx::fence_proxy_async();
  if (t == 0) {
    ptx::mbarrier_init(bar, 1);
    ptx::fence_mbarrier_init();
    ptx::mbarrier_arrive_expect_bytes(bar, sizeof landing);
  }
  __syncwarp();
  ptx::cluster_arrive();
  ptx::cluster_wait();
  if (t == 0) {
    ptx::bulk_copy_to_block(ptx::map_shared(ptx::shared_address(landing), next), ptx::shared_address(values), sizeof values, ptx::map_shared(bar, next));
  }
  ptx::mbarrier_wait(bar, 0);
  const uint4 v = landing[31 - t];
  out[blockIdx.x * 32 + t] = v.x * 10000 + v.y * 100 + v.z + v.w;
  __syncwarp();
  ptx::cluster_arrive();
  ptx::cluster_wait();
}

// Groups of stores; a buffer is used again when it has been read.
__global__ void store_kernel(uint32_t* out) {
  M2_SHARED(uint4, buffers, [2][8]);
  if (threadIdx.x != 0) return;
  for (uint32_t i = 0; i < 6; i++) {
    if (i >= 2) ptx::bulk_wait_read<1>();
    uint4(&buffer)[8] = buffers[i % 2];
    for (uint32_t j = 0; j < 8; j++) buffer[j] = make_uint4(i, j, i * j, i + j);
    ptx::fence_proxy_async();
    ptx::bulk_store(out + i * 32, ptx::shared_address(buffer), 64);
    ptx::bulk_store(out + i * 32 + 16, ptx::shared_address(buffer + 4), 64);
    ptx::bulk_commit();
  }
  ptx::bulk_wait<1>();
  ptx::bulk_wait_read<0>();
  ptx::bulk_wait<0>();
}

// All blocks add the same values.
__global__ void add_kernel(float* sums, const float* in) {
  M2_SHARED(float4, values, [32]);
  values[threadIdx.x] = reinterpret_cast<const float4*>(in)[threadIdx.x];
  ptx::fence_proxy_async();
  __syncthreads();
  if (threadIdx.x != 0) return;
  ptx::bulk_add_f32(sums, ptx::shared_address(values), sizeof values);
  ptx::bulk_commit();
  ptx::bulk_wait<0>();
}

std::vector<float> sums_of(const std::vector<float>& sums, const std::vector<float>& values, unsigned blocks) {
  const DeviceArray<float> to(sums), from(values);
  run_kernel<add_kernel>({.grid = blocks, .block = 32}, to.data(), from.data());
  return to.values();
}

}  // namespace

CONFORMANCE("bulk loads", 90) {
  const std::vector<uint32_t> in = scattered(kPieces * 4);
  const DeviceArray<uint32_t> given(in), got(kPieces);
  run_kernel<load_kernel>({.grid = 1, .block = kPieces}, got.data(), given.data());
  std::vector<uint32_t> truth;
  for (size_t t = kPieces; t-- > 0;) truth.push_back(in[4 * t] + 3 * in[4 * t + 1] + 5 * in[4 * t + 2] + 7 * in[4 * t + 3]);
  out.exact("bulk_load", got.values(), truth);
}

CONFORMANCE("bulk copies between blocks", 90) {
  constexpr uint32_t kBlocks = 4;
  const DeviceArray<uint32_t> got(kBlocks * 32);
  run_kernel<to_block_kernel>({.grid = kBlocks, .block = 32, .cluster = kBlocks}, got.data());
  std::vector<uint32_t> truth;
  for (uint32_t block = 0; block < kBlocks; block++) {
    const uint32_t from = (block + kBlocks - 1) % kBlocks;
    for (uint32_t t = 32; t-- > 0;) truth.push_back(from * 10000 + t * 100 + from * t + 7);
  }
  out.exact("bulk_copy_to_block", got.values(), truth);
}

CONFORMANCE("bulk stores", 90) {
  const DeviceArray<uint32_t> got(6 * 32);
  run_kernel<store_kernel>({.grid = 1, .block = 32}, got.data());
  std::vector<uint32_t> truth;
  for (uint32_t i = 0; i < 6; i++) {
    for (uint32_t j = 0; j < 8; j++) {
      for (uint32_t x : {i, j, i * j, i + j}) truth.push_back(x);
    }
  }
  out.exact("bulk_store", got.values(), truth);
}

CONFORMANCE("bulk sums", 90) {
  std::vector<float> sums, values;
  std::vector<double> truth, scales;
  for (int i = 0; i < 128; i++) {
    sums.push_back(static_cast<float>(i - 60));
    values.push_back(static_cast<float>(3 * i));
    truth.push_back(i - 60 + 5 * 3 * i);
  }
  out.exact("bulk_add_f32/integers", sums_of(sums, values, 5), truth);
  for (size_t i = 0; i < 128; i++) {
    sums[i] = std::ldexp(1.0f + static_cast<float>(i) / 131.0f, static_cast<int>(i % 40) - 20);
    values[i] = (i % 3 ? 1.0f : -1.0f) / (static_cast<float>(i) + 3.7f);
    truth[i] = double{sums[i]} + values[i];
    scales.push_back(std::abs(truth[i]));
  }
  out.within(0x1p-23, "bulk_add_f32/rounding", sums_of(sums, values, 1), truth, scales);
}

}  // namespace m2::test
