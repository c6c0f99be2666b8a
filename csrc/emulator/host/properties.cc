// A small Hopper (or Ampere), and what it says of itself.
#include <cstring>

#include "emulator/host/api.h"
#include "emulator/host/device.h"
#include "emulator/settings.h"

namespace {

constexpr size_t kGrantedShared = 48 << 10, kReservedShared = 1 << 10;
constexpr int kRegisters = 65536, kThreadsPerMultiprocessor = 2048, kBlocksPerMultiprocessor = 32;

}  // namespace

using namespace m2::emulator;

cudaError_t cudaGetDeviceCount(int* count) {
  return call([&](Device&) {
    *count = 1;
    return cudaSuccess;
  });
}
cudaError_t cudaSetDevice(int index) {
  return call([&](Device&) { return index == 0 ? cudaSuccess : cudaErrorInvalidDevice; });
}
cudaError_t cudaGetDevice(int* index) {
  return call([&](Device&) {
    *index = 0;
    return cudaSuccess;
  });
}
cudaError_t cudaDriverGetVersion(int* version) {
  return call([&](Device&) {
    *version = CUDART_VERSION;
    return cudaSuccess;
  });
}
cudaError_t cudaRuntimeGetVersion(int* version) { return cudaDriverGetVersion(version); }

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int index) {
  return call([&](Device&) {
    if (index != 0) return cudaErrorInvalidDevice;
    const Settings& s = settings();
    cudaDeviceProp p{};
    std::strcpy(p.name, "emulated");
    p.totalGlobalMem = s.memory;
    p.sharedMemPerBlock = kGrantedShared;
    p.regsPerBlock = p.regsPerMultiprocessor = kRegisters;
    p.warpSize = 32;
    p.maxThreadsPerBlock = 1024;
    p.maxThreadsDim[0] = p.maxThreadsDim[1] = 1024;
    p.maxThreadsDim[2] = 64;
    p.maxGridSize[0] = 0x7fffffff;
    p.maxGridSize[1] = p.maxGridSize[2] = 65535;
    p.totalConstMem = 65536;
    p.major = s.architecture / 10;
    p.minor = s.architecture % 10;
    p.multiProcessorCount = s.multiprocessors;
    p.canMapHostMemory = p.concurrentKernels = p.unifiedAddressing = p.cooperativeLaunch = p.streamPrioritiesSupported = 1;
    p.asyncEngineCount = 2;
    p.memoryBusWidth = 5120;
    p.l2CacheSize = 4 << 20;
    p.maxThreadsPerMultiProcessor = kThreadsPerMultiprocessor;
    p.sharedMemPerMultiprocessor = s.shared_per_multiprocessor();
    p.sharedMemPerBlockOptin = s.shared_per_block();
    p.maxBlocksPerMultiProcessor = kBlocksPerMultiprocessor;
    p.reservedSharedMemPerBlock = kReservedShared;
    p.clusterLaunch = s.architecture >= 90;
    *properties = p;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int index) {
  cudaDeviceProp p;
  if (const cudaError_t error = cudaGetDeviceProperties(&p, index); error != cudaSuccess) return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = static_cast<int>(p.sharedMemPerBlock); break;
    case cudaDevAttrWarpSize: *value = p.warpSize; break;
    case cudaDevAttrMaxRegistersPerBlock: *value = p.regsPerBlock; break;
    case cudaDevAttrClockRate: *value = 1000000; break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrIntegrated: *value = p.integrated; break;
    case cudaDevAttrConcurrentKernels: *value = p.concurrentKernels; break;
    case cudaDevAttrMemoryClockRate: *value = 1000000; break;
    case cudaDevAttrGlobalMemoryBusWidth: *value = p.memoryBusWidth; break;
    case cudaDevAttrL2CacheSize: *value = p.l2CacheSize; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = p.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrAsyncEngineCount: *value = p.asyncEngineCount; break;
    case cudaDevAttrUnifiedAddressing: *value = p.unifiedAddressing; break;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = static_cast<int>(p.sharedMemPerMultiprocessor); break;
    case cudaDevAttrMaxRegistersPerMultiprocessor: *value = p.regsPerMultiprocessor; break;
    case cudaDevAttrPageableMemoryAccess: *value = p.pageableMemoryAccess; break;
    case cudaDevAttrCooperativeLaunch: *value = p.cooperativeLaunch; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = static_cast<int>(p.sharedMemPerBlockOptin); break;
    case cudaDevAttrMaxBlocksPerMultiprocessor: *value = p.maxBlocksPerMultiProcessor; break;
    case cudaDevAttrReservedSharedMemoryPerBlock: *value = static_cast<int>(p.reservedSharedMemPerBlock); break;
    case cudaDevAttrMemoryPoolsSupported: *value = p.memoryPoolsSupported; break;
    case cudaDevAttrClusterLaunch: *value = p.clusterLaunch; break;
    default: return remember(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}
