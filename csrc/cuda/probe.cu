// The CUDA facts of this machine. The runtime is linked statically and looks for the driver itself, so the addon loads where there is none.
#include "core/cuda_probe.h"
#include "cuda/check.h"
#include "cuda/machine.h"

namespace m2 {

CudaProbe probe_cuda() {
  CudaProbe probe;
  probe.compiled = true;
  cudaDriverGetVersion(&probe.driver);
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  cudaGetLastError();
  for (int i = 0; i < devices; i++) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    const int architecture = 10 * properties.major + properties.minor;
    probe.devices.push_back({properties.name, architecture, properties.totalGlobalMem, architecture >= cuda::kOldestArchitecture});
  }
  for (const CudaDevice& device : probe.devices) {
    if (device.usable) return probe;
  }
  if (probe.driver == 0) probe.reason = "no NVIDIA driver was found";
  else if (status != cudaSuccess) probe.reason = cudaGetErrorString(status);
  else if (probe.devices.empty()) probe.reason = "the driver shows no device";
  else probe.reason = probe.devices[0].name + " is older than compute capability 8.0";
  return probe;
}

DeviceMemory device_memory(int ordinal, const std::string& device) {
  const cuda::Machine machine(ordinal, device);
  DeviceMemory memory;
  cuda::check(cudaMemGetInfo(&memory.free, &memory.total), "asking for the device's memory");
  return memory;
}

}  // namespace m2
