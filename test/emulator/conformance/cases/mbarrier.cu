// mbarrier.h: mbarrier_init, mbarrier_invalidate, fence_mbarrier_init, fence_proxy_async, mbarrier_arrive, mbarrier_arrive_many, mbarrier_arrive_cluster,
// mbarrier_expect_bytes, mbarrier_arrive_expect_bytes, mbarrier_test, mbarrier_wait.
#include "cuda/ptx/mbarrier.h"

#include "../case.h"
#include "cuda/ptx/bulk.h"
#include "cuda/ptx/cluster.h"

namespace m2::test {
namespace {

// What tests say along the way, of one thread and an mbarrier of three arrivals.
__global__ void phases_kernel(uint32_t* out, const uint32_t* in) {
  M2_SHARED(uint4, landing, [2]);
  M2_SHARED(uint64_t, barrier, [1]);
  const uint32_t bar = ptx::shared_address(barrier), to = ptx::shared_address(landing);
  int i = 0;
  const auto test = [&] {
    out[i++] = ptx::mbarrier_test(bar, 0);
    out[i++] = ptx::mbarrier_test(bar, 1);
  };
  ptx::mbarrier_init(bar, 3);
  ptx::fence_mbarrier_init();
  test();
  ptx::mbarrier_arrive(bar);
  test();
  ptx::mbarrier_arrive_many(bar, 2);
  test();
  ptx::mbarrier_expect_bytes(bar, 16);  // the second phase waits for bytes, too
  ptx::mbarrier_arrive_many(bar, 3);
  test();
  ptx::bulk_load(to, in, 16, bar);
  ptx::mbarrier_wait(bar, 1);
  test();
  ptx::mbarrier_arrive_expect_bytes(bar, 16);  // and the third, announced with an arrival
  ptx::bulk_load(to + 16, in + 4, 16, bar);
  test();
  ptx::mbarrier_arrive(bar);
  ptx::mbarrier_arrive(bar);
  ptx::mbarrier_wait(bar, 0);
  test();
  ptx::mbarrier_invalidate(bar);
  ptx::mbarrier_init(bar, 1);
  test();
  for (int j = 0; j < 2; j++) out[i++] = landing[j].x ^ landing[j].y ^ landing[j].z ^ landing[j].w;
}

// Two slots between a warp that makes values and one that uses them: each slot has an mbarrier for full and one for empty.
__global__ void ring_kernel(uint32_t* out, int rounds) {
  M2_SHARED(uint32_t, slot, [2][32]);
  M2_SHARED(uint64_t, barriers, [4]);
  const int lane = threadIdx.x % 32;
  const auto full = [&](int i) { return ptx::shared_address(&barriers[i % 2]); };
  const auto empty = [&](int i) { return ptx::shared_address(&barriers[2 + i % 2]); };
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; i++) {
      ptx::mbarrier_init(full(i), 32);
      ptx::mbarrier_init(empty(i), 1);
    }
  }
  __syncthreads();
  for (int i = 0; i < rounds; i++) {
    if (threadIdx.x < 32) {
      ptx::mbarrier_wait(empty(i), (i / 2 & 1) ^ 1);
      slot[i % 2][lane] = i * 100 + lane;
      ptx::mbarrier_arrive(full(i));
    } else {
      ptx::mbarrier_wait(full(i), i / 2 & 1);
      out[i * 32 + lane] = slot[i % 2][31 - lane];
      __syncwarp();
      if (lane == 0) ptx::mbarrier_arrive(empty(i));
    }
  }
}

// The engine stores what threads wrote before they fenced.
__global__ void proxy_kernel(uint32_t* out) {
  M2_SHARED(uint4, values, [32]);
  const uint32_t t = threadIdx.x;
  values[t] = make_uint4(4 * t, 4 * t + 1, 4 * t + 2, 4 * t + 3);
  ptx::fence_proxy_async();
  __syncthreads();
  if (t != 0) return;
  ptx::bulk_store(out, ptx::shared_address(values), sizeof values);
  ptx::bulk_commit();
  ptx::bulk_wait<0>();
}

// Each block of the cluster arrives at the mbarriers of all of them, as many times as its rank says and once more.
__global__ void cluster_arrivals_kernel(uint32_t* out) {
  M2_SHARED(uint64_t, barrier, [1]);
  const uint32_t bar = ptx::shared_address(barrier), blocks = ptx::cluster_blocks(), rank = ptx::cluster_rank();
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(bar, blocks * (blocks + 1) / 2 + 1);
    ptx::fence_mbarrier_init();
  }
  __syncwarp();
  ptx::cluster_arrive();
  ptx::cluster_wait();
  if (threadIdx.x == 0) {
    for (uint32_t to = 0; to < blocks; to++) {
      for (uint32_t i = 0; i <= rank; i++) ptx::mbarrier_arrive_cluster(ptx::map_shared(bar, to));
    }
    out[blockIdx.x * 2] = ptx::mbarrier_test(bar, 0);
    ptx::mbarrier_arrive(bar);
    ptx::mbarrier_wait(bar, 0);
    out[blockIdx.x * 2 + 1] = ptx::mbarrier_test(bar, 0);
  }
  __syncwarp();
  ptx::cluster_arrive();
  ptx::cluster_wait();
}

}  // namespace

CONFORMANCE("mbarrier: phases", 90) {
  const std::vector<uint32_t> in = scattered(8);
  const DeviceArray<uint32_t> given(in), got(18);
  run_kernel<phases_kernel>({.grid = 1, .block = 1}, got.data(), given.data());
  out.exact("mbarrier/phases", got.values(),
            {0, 1, 0, 1, 1, 0, 1, 0, 0, 1, 0, 1, 1, 0, 0, 1, in[0] ^ in[1] ^ in[2] ^ in[3], in[4] ^ in[5] ^ in[6] ^ in[7]});
}

CONFORMANCE("mbarrier: a ring of slots", 90) {
  constexpr uint32_t kRounds = 7;
  const DeviceArray<uint32_t> got(kRounds * 32);
  run_kernel<ring_kernel>({.grid = 1, .block = 64}, got.data(), static_cast<int>(kRounds));
  std::vector<uint32_t> truth;
  for (uint32_t i = 0; i < kRounds * 32; i++) truth.push_back(i / 32 * 100 + 31 - i % 32);
  out.exact("mbarrier/ring", got.values(), truth);
}

CONFORMANCE("fence.proxy.async", 90) {
  const DeviceArray<uint32_t> got(128);
  run_kernel<proxy_kernel>({.grid = 1, .block = 32}, got.data());
  out.exact("fence_proxy_async", got.values(), counting(128));
}

CONFORMANCE("mbarrier: arrivals of a cluster", 90) {
  const DeviceArray<uint32_t> got(8);
  run_kernel<cluster_arrivals_kernel>({.grid = 4, .block = 32, .cluster = 4}, got.data());
  out.exact("mbarrier_arrive_cluster", got.values(), {0, 1, 0, 1, 0, 1, 0, 1});
}

}  // namespace m2::test
