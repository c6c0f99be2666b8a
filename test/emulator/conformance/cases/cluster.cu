// cluster.h: cluster_rank, cluster_blocks, cluster_arrive, cluster_wait, map_shared, ld_cluster, st_cluster.
#include "cuda/ptx/cluster.h"

#include "../case.h"

namespace m2::test {
namespace {

// Each block writes to the next one of its cluster and reads from all of them.
__global__ void cluster_kernel(uint32_t* out) {
  M2_SHARED(uint32_t, given, [32]);
  M2_SHARED(uint32_t, own, [32]);
  const uint32_t t = threadIdx.x, rank = ptx::cluster_rank(), blocks = ptx::cluster_blocks();
  own[t] = blockIdx.x * 100 + t;
  ptx::cluster_arrive();
  uint32_t* to = out + blockIdx.x * 128;
  to[t] = rank * 16 + blocks;
  ptx::cluster_wait();
  ptx::st_cluster(ptx::map_shared(ptx::shared_address(&given[31 - t]), (rank + 1) % blocks), blockIdx.x * 1000 + t);
  uint32_t sum = 0;
  for (uint32_t i = 0; i < blocks; i++) sum = sum * 3 + ptx::ld_cluster(ptx::map_shared(ptx::shared_address(&own[t]), i));
  to[32 + t] = sum;
  ptx::cluster_arrive();
  ptx::cluster_wait();
  to[64 + t] = given[t];
  to[96 + t] = ptx::ld_cluster(ptx::map_shared(ptx::shared_address(&given[t]), rank));
}

void clusters_of(Vectors& out, uint32_t blocks) {
  constexpr uint32_t kBlocks = 8;
  const DeviceArray<uint32_t> got(kBlocks * 128);
  run_kernel<cluster_kernel>({.grid = kBlocks, .block = 32, .cluster = blocks}, got.data());
  std::vector<uint32_t> truth(kBlocks * 128);
  for (uint32_t block = 0; block < kBlocks; block++) {
    const uint32_t rank = block % blocks, first = block - rank, before = first + (rank + blocks - 1) % blocks;
    for (uint32_t t = 0; t < 32; t++) {
      uint32_t* to = &truth[block * 128 + t];
      to[0] = rank * 16 + blocks;
      for (uint32_t i = 0; i < blocks; i++) to[32] = to[32] * 3 + (first + i) * 100 + t;
      to[64] = to[96] = before * 1000 + 31 - t;
    }
  }
  out.exact("cluster_of_" + std::to_string(blocks), got.values(), truth);
}

}  // namespace

CONFORMANCE("clusters", 90) {
  for (uint32_t blocks : {1, 2, 4}) clusters_of(out, blocks);
}

}  // namespace m2::test
