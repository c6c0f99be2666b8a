// What this build and this machine have of CUDA. Defined by csrc/cuda/probe.cu where nvcc was found at build time, by csrc/cuda/absent.cc elsewhere.
#pragma once
#include <string>
#include <vector>

namespace m2 {

struct CudaProbe {
  bool compiled = false;           // the CUDA sources are in this build
  int driver = 0;                  // the CUDA version the driver supports, 13000 for 13.0; 0: no driver
  std::vector<std::string> names;  // of the devices that can be used
  std::string reason;              // why there is no device; empty when there is one
};

// Never throws and needs no driver: an absent GPU is an answer.
CudaProbe probe_cuda();

}  // namespace m2
