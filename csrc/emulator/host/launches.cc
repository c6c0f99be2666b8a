// Kernel launches: what is asked for is checked as the driver would, and queued with a copy of the arguments.
#include <algorithm>
#include <cstdio>

#include "emulator/host/api.h"
#include "emulator/host/device.h"
#include "emulator/settings.h"

namespace m2::emulator {
namespace {

constexpr int kGrantedShared = 48 << 10;
thread_local std::string next_name;

cudaError_t read_attributes(const cudaLaunchConfig_t& config, Kernel& kernel) {
  kernel.cluster = dim3(1, 1, 1);
  for (unsigned i = 0; i < config.numAttrs; i++) {
    const cudaLaunchAttribute& a = config.attrs[i];
    switch (a.id) {
      case cudaLaunchAttributeIgnore: break;
      case cudaLaunchAttributeCooperative: kernel.cooperative = a.val.cooperative; break;
      case cudaLaunchAttributeClusterDimension: kernel.cluster = dim3(a.val.clusterDim.x, a.val.clusterDim.y, a.val.clusterDim.z); break;
      case cudaLaunchAttributeProgrammaticStreamSerialization: kernel.overlaps = a.val.programmaticStreamSerializationAllowed; break;
      default: return cudaErrorInvalidValue;
    }
  }
  return cudaSuccess;
}

int granted_shared(Device& d, const void* kernel) {
  const auto found = d.granted_shared.find(kernel);
  return found == d.granted_shared.end() ? kGrantedShared : found->second;
}

cudaError_t check_shape(Device& d, const Kernel& k, const void* function) {
  const auto refuse = [&](cudaError_t error, const char* why) { return d.refuse(error, k.name + ": " + why); };
  const dim3 b = k.block, g = k.grid, c = k.cluster;
  if (b.x == 0 || b.y == 0 || b.z == 0 || b.x > 1024 || b.y > 1024 || b.z > 64 || k.threads() > 1024) return refuse(cudaErrorInvalidConfiguration, "block shape");
  if (g.x == 0 || g.y == 0 || g.z == 0 || g.x > 0x7fffffffu || g.y > 65535 || g.z > 65535) return refuse(cudaErrorInvalidConfiguration, "grid shape");
  if (c.x == 0 || c.y == 0 || c.z == 0 || k.cluster_blocks() > 8) return refuse(cudaErrorInvalidClusterSize, "cluster shape");
  if (g.x % c.x || g.y % c.y || g.z % c.z) return refuse(cudaErrorInvalidClusterSize, "the grid is no multiple of the cluster");
  if (k.cluster_blocks() > 1 && settings().architecture < 90) return refuse(cudaErrorInvalidConfiguration, "clusters need sm_90");
  if (k.shared > static_cast<size_t>(granted_shared(d, function))) {
    return refuse(cudaErrorInvalidValue, "more dynamic shared memory than cudaFuncSetAttribute granted");
  }
  if (k.cooperative) {
    int blocks = 0;
    resident_blocks(&blocks, function, static_cast<int>(k.threads()), k.shared);
    if (k.blocks() > static_cast<size_t>(blocks) * static_cast<size_t>(settings().multiprocessors)) {
      return refuse(cudaErrorCooperativeLaunchTooLarge, "more blocks than are resident at once");
    }
  }
  return cudaSuccess;
}

}  // namespace

void name_next_launch(const std::string& name) { next_name = name; }

cudaError_t launch(const cudaLaunchConfig_t& config, KernelCall kernel_call) {
  return call([&](Device& d) {
    auto kernel = std::make_shared<Kernel>();
    kernel->name = std::exchange(next_name, std::string());
    if (kernel->name.empty()) {
      char address[40];
      std::snprintf(address, sizeof address, "kernel at %p", kernel_call.kernel);
      kernel->name = address;
    }
    const std::shared_ptr<Stream> stream = d.stream(config.stream);
    if (!stream) return cudaErrorInvalidResourceHandle;
    kernel->grid = config.gridDim;
    kernel->block = config.blockDim;
    kernel->shared = config.dynamicSmemBytes;
    kernel->body = std::move(kernel_call.body);
    kernel->pointers = std::move(kernel_call.pointers);
    if (const cudaError_t error = read_attributes(config, *kernel); error != cudaSuccess) return error;
    if (const cudaError_t error = check_shape(d, *kernel, kernel_call.kernel); error != cudaSuccess) return error;
    kernel->overlaps = kernel->overlaps && settings().architecture >= 90;
    return d.enqueue(stream, KernelWork{std::move(kernel)});
  });
}

cudaError_t set_function_attribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  return call([&](Device& d) {
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (value < 0 || static_cast<size_t>(value) > settings().shared_per_block()) return cudaErrorInvalidValue;
    d.granted_shared[kernel] = value;
    return cudaSuccess;
  });
}

cudaError_t function_attributes(const void* kernel, cudaFuncAttributes* attributes) {
  return call([&](Device& d) {
    *attributes = {};
    attributes->maxThreadsPerBlock = 1024;
    attributes->ptxVersion = attributes->binaryVersion = settings().architecture;
    attributes->maxDynamicSharedSizeBytes = granted_shared(d, kernel);
    return cudaSuccess;
  });
}

// Registers are not known here, and do not limit.
cudaError_t resident_blocks(int* blocks, const void*, int threads, size_t shared) {
  return call([&](Device&) {
    if (threads < 1 || threads > 1024) return cudaErrorInvalidValue;
    const int by_threads = 2048 / ((threads + 31) / 32 * 32), by_shared = static_cast<int>(settings().shared_per_multiprocessor() / (shared + 1024));
    *blocks = shared > settings().shared_per_block() ? 0 : std::min({32, by_threads, by_shared});
    return cudaSuccess;
  });
}

}  // namespace m2::emulator
