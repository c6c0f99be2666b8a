// What this build and this machine have of CUDA. Defined by csrc/cuda/probe.cu where nvcc was found at build time, by csrc/cuda/absent.cc elsewhere.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

namespace m2 {

struct CudaDevice {
  std::string name;      // "NVIDIA H200"
  int architecture = 0;  // compute capability, 90 for 9.0
  size_t memory = 0;     // bytes in all
  bool usable = false;   // by this build
};

struct CudaProbe {
  bool compiled = false;            // the CUDA sources are in this build
  int driver = 0;                   // the CUDA version the driver supports, 13000 for 13.0; 0: no driver
  std::vector<CudaDevice> devices;  // in the driver's order
  std::string reason;               // why no device can be used; empty when one can
};

// Never throws and needs no driver: an absent GPU is an answer.
CudaProbe probe_cuda();

struct DeviceMemory {
  size_t free, total;  // bytes
};

// Of the `ordinal`-th GPU, which the user calls `device`. Throws DEVICE_UNAVAILABLE where it is not there or cannot be used.
DeviceMemory device_memory(int ordinal, const std::string& device);

}  // namespace m2
