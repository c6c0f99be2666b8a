// Errors: launches that cannot be, failures that were asked for, and which errors stay.
#include "../host.h"

namespace m2::test {
namespace {

__global__ void nothing_kernel() {}
__global__ void shared_kernel(int* out, int count) {
  M2_DYNAMIC_SHARED(raw);
  int* values = reinterpret_cast<int*>(raw);
  for (int i = threadIdx.x; i < count; i += blockDim.x) values[i] = i;
  __syncthreads();
  if (threadIdx.x == 0) *out = values[count - 1];
}

cudaError_t launch_of(const Shape& shape) { return start<nothing_kernel>(shape); }

}  // namespace

CASE("errors: shapes of launches that cannot be") {
  using Sizes = std::pair<dim3, dim3>;
  for (const auto& [grid, block] : {Sizes{1, 1025}, Sizes{1, dim3(32, 33)}, Sizes{1, dim3(1, 1, 65)}, Sizes{1, 0}, Sizes{0, 32}, Sizes{dim3(1, 65536), 32},
                                    Sizes{dim3(1, 1, 65536), 32}}) {
    refused(launch_of({.grid = grid, .block = block}), cudaErrorInvalidConfiguration, "nothing_kernel: ");
  }
  succeed(launch_of({.grid = dim3(2, 2, 2), .block = dim3(8, 2, 64)}));
  refused(launch_of({.grid = 16, .block = 32, .cluster = 16}), cudaErrorInvalidClusterSize, "cluster shape");
  refused(launch_of({.grid = 3, .block = 32, .cluster = 2}), cudaErrorInvalidClusterSize, "no multiple");
  succeed(launch_of({.grid = 16, .block = 32, .cluster = 8}));
  const int before = std::exchange(emulator::settings().multiprocessors, 1);  // which holds two blocks of 1024 threads
  const cudaError_t fits = launch_of({.grid = 2, .block = 1024, .cooperative = true});
  refused(launch_of({.grid = 3, .block = 1024, .cooperative = true}), cudaErrorCooperativeLaunchTooLarge, "more blocks than are resident");
  emulator::settings().multiprocessors = before;
  succeed(fits);
  succeed(cudaDeviceSynchronize());
  EXPECT(cudaGetLastError() == cudaErrorCooperativeLaunchTooLarge);
}

CASE("errors: shared memory is granted up to 48 KB, and more on request") {
  emulator::reset_device();
  const DeviceArray<int> out(1);
  const auto launch = [&](size_t bytes) {
    cudaLaunchConfig_t config{};
    config.gridDim = 1;
    config.blockDim = 32;
    config.dynamicSmemBytes = bytes;
    return cuda::launch_converted(config, shared_kernel, out.data(), static_cast<int>(bytes / 4));
  };
  succeed(launch(48 << 10));
  EXPECT(out.values()[0] == (48 << 8) - 1);
  refused(launch((48 << 10) + 16), cudaErrorInvalidValue, "more dynamic shared memory");
  const int most = static_cast<int>(emulator::settings().shared_per_block());
  EXPECT(cudaFuncSetAttribute(shared_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most + 1) == cudaErrorInvalidValue);
  succeed(cudaFuncSetAttribute(shared_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most));
  cudaFuncAttributes attributes;
  succeed(cudaFuncGetAttributes(&attributes, shared_kernel));
  EXPECT(attributes.maxDynamicSharedSizeBytes == most);
  succeed(launch(static_cast<size_t>(most)));
  EXPECT(out.values()[0] == most / 4 - 1);
  int blocks = 0;
  succeed(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, shared_kernel, 128, 100 << 10));
  EXPECT(blocks == 2, blocks);
}

CASE("errors: a failure that was asked for, of the nth call") {
  emulator::reset_device();
  emulator::fail_call(3, cudaErrorMemoryAllocation);
  int index;
  succeed(cudaGetDevice(&index));
  succeed(cudaGetDevice(&index));
  refused(cudaGetDevice(&index), cudaErrorMemoryAllocation, "a failure that was asked for: cudaErrorMemoryAllocation");
  succeed(cudaGetDevice(&index));
  EXPECT(cudaPeekAtLastError() == cudaErrorMemoryAllocation);
  EXPECT(cudaGetLastError() == cudaErrorMemoryAllocation);
  EXPECT(cudaGetLastError() == cudaSuccess && cudaPeekAtLastError() == cudaSuccess);
}

CASE("errors: some stick, and everything fails from then on") {
  emulator::reset_device();
  void* data;
  succeed(cudaMalloc(&data, 16));
  emulator::fail_call(1, cudaErrorECCUncorrectable);
  EXPECT(cudaDeviceSynchronize() == cudaErrorECCUncorrectable);
  cudaStream_t stream;
  for (const cudaError_t error : {cudaMalloc(&data, 16), cudaFree(data), cudaMemset(data, 0, 16), cudaStreamCreate(&stream), launch_of({.grid = 1, .block = 1}),
                                  cudaDeviceSynchronize(), cudaGetLastError(), cudaGetLastError(), cudaPeekAtLastError()}) {
    EXPECT(error == cudaErrorECCUncorrectable, cudaGetErrorName(error));
  }
  EXPECT(contains(cudaGetErrorString(cudaErrorECCUncorrectable), "uncorrectable ECC error encountered: a failure that was asked for"));
  emulator::reset_device();
  succeed(cudaDeviceSynchronize());
  EXPECT(cudaGetLastError() == cudaSuccess);
}

CASE("errors: a kernel's failure is told where it is waited for, and sticks") {
  for_each_seed([] {
    const OwnedStream stream = make_stream(), other = make_stream();
    const cudaError_t at_launch = start<shared_kernel>({.grid = 1, .block = 32, .stream = stream}, nullptr, 1);  // which gives no shared memory
    if (runs_late()) succeed(at_launch);
    if (runs_late()) succeed(cudaStreamSynchronize(other));
    refused(cudaStreamSynchronize(stream), cudaErrorLaunchFailure, "shared_kernel");
    EXPECT(cudaStreamSynchronize(other) == cudaErrorLaunchFailure && cudaStreamQuery(other) == cudaErrorLaunchFailure);
    emulator::reset_device();
    succeed(cudaDeviceSynchronize());
  });
}

CASE("errors: there is one device") {
  int count = 0;
  cudaDeviceProp properties;
  succeed(cudaGetDeviceCount(&count));
  EXPECT(count == 1);
  EXPECT(cudaSetDevice(1) == cudaErrorInvalidDevice);
  EXPECT(cudaGetDeviceProperties(&properties, 1) == cudaErrorInvalidDevice);
  succeed(cudaGetDeviceProperties(&properties, 0));
  EXPECT(properties.totalGlobalMem == emulator::settings().memory && properties.major * 10 + properties.minor == emulator::settings().architecture);
  EXPECT(properties.sharedMemPerBlock == 48 << 10 && properties.sharedMemPerBlockOptin == emulator::settings().shared_per_block());
  emulator::reset_device();
}

}  // namespace m2::test
