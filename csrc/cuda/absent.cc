// In place of every .cu file where the core is built without CUDA.
#include "core/cuda_probe.h"

namespace m2 {

CudaProbe probe_cuda() {
  CudaProbe probe;
  probe.reason = "this build of the core has no CUDA: nvcc was not found when it was built, or M2_CUDA was off";
  return probe;
}

}  // namespace m2
