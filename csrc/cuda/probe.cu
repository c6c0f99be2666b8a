// The CUDA facts of this machine. The runtime is linked statically and looks for the driver itself, so the addon loads where there is none.
#include <cuda_runtime.h>

#include "core/cuda_probe.h"

namespace m2 {

CudaProbe probe_cuda() {
  CudaProbe probe;
  probe.compiled = true;
  cudaDriverGetVersion(&probe.driver);
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error != cudaSuccess) {
    probe.reason = probe.driver == 0 ? "no NVIDIA driver was found" : cudaGetErrorString(error);
    return probe;
  }
  for (int i = 0; i < devices; i++) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, i) == cudaSuccess) probe.names.push_back(properties.name);
  }
  if (probe.names.empty()) probe.reason = "the driver shows no device";
  return probe;
}

}  // namespace m2
