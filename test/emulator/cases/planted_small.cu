// Bugs planted in kernels and host code of a few lines, one for each class; without the bug the same code is right.
#include "../host.h"
#include "../planted.h"
#include "../problems.h"
#include "cuda/ptx/bulk.h"
#include "cuda/ptx/cluster.h"
#include "cuda/ptx/mbarrier.h"

namespace m2::test {
namespace {

constexpr int kThreads = 64;
constexpr Shape kOneBlock{.grid = 1, .block = kThreads};

std::vector<float> counting(int count = kThreads) {
  std::vector<float> values(count);
  for (int i = 0; i < count; i++) values[i] = static_cast<float>(i + 1);
  return values;
}
std::vector<double> same() {
  const std::vector<float> values = counting();
  return {values.begin(), values.end()};
}
std::vector<double> reversed() {
  const std::vector<float> values = counting();
  return {values.rbegin(), values.rend()};
}

// A kernel of out and in: kThreads values each.
template <auto kKernel>
std::string run_of(const std::vector<double>& truth, const Shape& shape = kOneBlock, const std::vector<float>& values = counting()) {
  const DeviceArray<float> in(values), out(truth.size());
  const std::string failed = outcome(start<kKernel>(shape, out.data(), in.data()));
  return failed.empty() ? judged(out.values(), truth, 0) : failed;
}

template <bool kBug>
__global__ void shared_range_kernel(float* out, const float* in) {
  M2_SHARED(float, values, [kThreads]);
  const int t = threadIdx.x;
  values[kThreads - 1 - t + kBug] = in[t];
  __syncthreads();
  out[t] = values[t];
}

template <bool kBug>
__global__ void global_range_kernel(float* out, const float* in) {
  out[threadIdx.x] = in[threadIdx.x + kBug];
}

template <bool kBug>
__global__ void vector_alignment_kernel(float* out, const float* in) {
  if (threadIdx.x < kThreads / 4) reinterpret_cast<float4*>(out)[threadIdx.x] = reinterpret_cast<const float4*>(in + kBug)[threadIdx.x];
}

template <bool kBug>
__global__ void unwritten_shared_kernel(float* out, const float* in) {
  M2_SHARED(float, values, [kThreads]);
  const int t = threadIdx.x;
  if (!kBug || t != 5) values[t] = in[t];
  __syncthreads();
  out[t] = values[kThreads - 1 - t];
}

template <bool kBug>
__global__ void warp_exchange_kernel(float* out, const float* in) {
  M2_SHARED(float, values, [kThreads]);
  const int t = threadIdx.x;
  values[t] = in[t];
  if (!kBug) __syncwarp();
  out[t ^ 1] = values[t ^ 1];
}

// Odd lanes go on to the shuffle, even ones wait for them at the barrier.
template <bool kBug>
__global__ void partial_barrier_kernel(float* out, const float* in) {
  M2_SHARED(float, values, [kThreads]);
  const int t = threadIdx.x;
  values[t] = in[t];
  if (!kBug || t % 2 == 0) __syncthreads();
  out[t] = __shfl_xor_sync(cuda::kFullMask, values[kThreads - 1 - (t ^ 1)], 1);
}

template <bool kBug>
__global__ void bulk_store_kernel(float* out, const float* in) {
  M2_SHARED(float, values, [kThreads]);
  const int t = threadIdx.x;
  values[t] = in[t];
  if (!kBug) cuda::ptx::fence_proxy_async();
  __syncthreads();
  if (t > 0) return;
  cuda::ptx::bulk_store(out, cuda::ptx::shared_address(values), sizeof values);
  cuda::ptx::bulk_commit();
  cuda::ptx::bulk_wait<0>();
}

template <bool kBug>
__global__ void bulk_load_kernel(float* out, const float* in) {
  M2_SHARED(float, values, [kThreads]);
  M2_SHARED(uint64_t, loaded, [1]);
  const int t = threadIdx.x;
  const uint32_t mbarrier = cuda::ptx::shared_address(loaded);
  if (t == 0) {
    if (!kBug) cuda::ptx::mbarrier_init(mbarrier, 1);
    cuda::ptx::fence_mbarrier_init();
  }
  __syncthreads();
  if (t == 0) {
    cuda::ptx::mbarrier_arrive_expect_bytes(mbarrier, sizeof values);
    cuda::ptx::bulk_load(cuda::ptx::shared_address(values), in, sizeof values, mbarrier);
  }
  cuda::ptx::mbarrier_wait(mbarrier, 0);
  out[t] = values[t];
}

// Two blocks, which read one another's values.
template <bool kBug>
__global__ void cluster_peer_kernel(float* out, const float* in) {
  M2_SHARED(float, values, [kThreads / 2]);
  const int t = threadIdx.x;
  const uint32_t rank = cuda::ptx::cluster_rank();
  values[t] = in[rank * blockDim.x + t];
  cuda::ptx::cluster_arrive();
  cuda::ptx::cluster_wait();
  out[(rank ^ 1) * blockDim.x + t] = __uint_as_float(cuda::ptx::ld_cluster(cuda::ptx::map_shared(cuda::ptx::shared_address(values + t), rank ^ 1)));
  if (kBug) return;
  cuda::ptx::cluster_arrive();
  cuda::ptx::cluster_wait();
}

__global__ void copy_values_kernel(float* out, const float* in) { out[threadIdx.x] = in[threadIdx.x]; }

}  // namespace

CASE("planted: addresses") {
  only_the_bug_is_noticed("shared memory: an index out of range", {kSeeds, "wrote in front of or behind its shared array \"values\"", kSeeds, "out of bounds"},
                          [](auto bug) { return run_of<shared_range_kernel<bug>>(reversed()); });
  only_the_bug_is_noticed("device memory: a read out of range", {kSeeds, "out of bounds"},
                          [](auto bug) { return run_of<global_range_kernel<bug>>(same()); });
  only_the_bug_is_noticed("device memory: a vector that is not aligned", {kSeeds, "a misaligned access of a vector", kSeeds, "which is not aligned to"},
                          [](auto bug) { return run_of<vector_alignment_kernel<bug>>(same(), kOneBlock, counting(kThreads + 4)); });
}

CASE("planted: what nobody has written") {
  only_the_bug_is_noticed("shared memory: read and never written", {kSeeds, "nan"},
                          [](auto bug) { return run_of<unwritten_shared_kernel<bug>>(reversed()); });
  only_the_bug_is_noticed("device memory: read and never written", {kSeeds, "nan"}, [](auto bug) {
    const DeviceArray<float> in(kThreads), out(kThreads);
    succeed(cudaMemset(in.data(), 0, (kThreads - bug) * sizeof(float)));
    const std::string failed = outcome(start<copy_values_kernel>(kOneBlock, out.data(), in.data()));
    const std::vector<float> got = out.values();
    return failed.empty() ? judged(std::vector<float>{1 + got[kThreads - 1]}, {1}, 0) : failed;
  });
}

CASE("planted: threads that do not wait for one another") {
  only_the_bug_is_noticed("a warp's exchange through shared memory: no __syncwarp", {kSeeds, "wrong"},
                          [](auto bug) { return run_of<warp_exchange_kernel<bug>>(same()); });
  only_the_bug_is_noticed("a barrier that a part of the block reaches", {kSeeds, "deadlock", kSeeds, "a race"},
                          [](auto bug) { return run_of<partial_barrier_kernel<bug>>(reversed()); });
  only_the_bug_is_noticed("an mbarrier that nobody has initialised", {kSeeds, "no mbarrier was initialised"},
                          [](auto bug) { return run_of<bulk_load_kernel<bug>>(same()); });
  only_the_bug_is_noticed("shared memory of a block of the cluster that has ended", {kSeeds / 2, "of the cluster, which has ended"},
                          [](auto bug) { return run_of<cluster_peer_kernel<bug>>(same(), {.grid = 2, .block = kThreads / 2, .cluster = 2}); });
#ifdef M2_TRACED  // only the trace knows what the copy engine may see
  only_the_bug_is_noticed("a bulk store of what threads wrote: no fence.proxy.async", {0, "", kSeeds, "fence.proxy.async has not followed"},
                          [](auto bug) { return run_of<bulk_store_kernel<bug>>(same()); });
#endif
}

CASE("planted: streams") {
  only_the_bug_is_noticed("a dependent kernel that does not wait", {kSeeds / 3, "wrong", kSeeds / 3}, [](auto bug) {
    const DeviceArray<int> value(std::vector<int>{0}), begun(std::vector<int>{0}), saw(1), out(1);
    succeed(cudaDeviceSynchronize());
    succeed(start<producer_kernel>({.grid = 1, .block = 1}, value.data(), begun.data(), saw.data()));
    const std::string failed = outcome(start<consumer_kernel<!bug>>({.grid = 1, .block = 1, .overlaps = true}, out.data(), value.data(), begun.data()));
    return failed.empty() ? judged(out.values(), {7}, 0) : failed;
  });
  only_the_bug_is_noticed("two streams: no wait for the event", {kSeeds / 3, "wrong"}, [](auto bug) {
    const DeviceArray<float> in(counting()), between(kThreads), out(kThreads);
    const OwnedStream first = make_stream(), second = make_stream();
    const OwnedEvent event = make_event();
    succeed(cudaDeviceSynchronize());
    succeed(start<copy_values_kernel>({.grid = 1, .block = kThreads, .stream = first}, between.data(), in.data()));
    succeed(cudaEventRecord(event, first));
    if (!bug) succeed(cudaStreamWaitEvent(second, event));
    const cudaError_t launched = start<copy_values_kernel>({.grid = 1, .block = kThreads, .stream = second}, out.data(), between.data());
    const std::string failed = outcome(launched == cudaSuccess ? cudaStreamSynchronize(second) : launched);
    return failed.empty() ? judged(out.values(), same(), 0) : failed;
  });
  only_the_bug_is_noticed("a pinned buffer used again before its copy is done", {kSeeds / 3, "pinned memory was changed", kSeeds / 3}, [](auto bug) {
    const DeviceArray<int> to(2);
    const PinnedArray<int> staging(1, 1);
    succeed(cudaMemcpyAsync(to.data(), staging.data(), sizeof(int), cudaMemcpyHostToDevice));
    if (!bug) succeed(cudaStreamSynchronize(nullptr));
    staging[0] = 2;
    const std::string failed = outcome(cudaMemcpyAsync(to.data() + 1, staging.data(), sizeof(int), cudaMemcpyHostToDevice));
    return failed.empty() ? judged(to.values(), {1, 2}, 0) : failed;
  });
  only_the_bug_is_noticed("a graph launched after its memory was freed", {kSeeds, "points to nothing of the device"}, [](auto bug) {
    const DeviceArray<float> in(counting());
    const OwnedStream stream = make_stream(cudaStreamDefault);
    float* out;
    succeed(cudaMalloc(&out, kThreads * sizeof(float)));
    succeed(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    succeed(start<copy_values_kernel>({.grid = 1, .block = kThreads, .stream = stream}, out, in.data()));
    cudaGraph_t graph;
    succeed(cudaStreamEndCapture(stream, &graph));
    const OwnedGraph owned(graph);
    const OwnedExec exec = instantiate(graph);
    if (bug) succeed(cudaFree(out));
    const std::string failed = outcome(cudaGraphLaunch(exec, stream));
    if (!bug) succeed(cudaFree(out));
    return failed;
  });
}

}  // namespace m2::test
