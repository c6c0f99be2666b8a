// In place of every .cu file where the core is built without CUDA.
#include "core/cuda_probe.h"
#include "cuda/cuda_backend.h"

namespace m2 {

namespace {
constexpr const char* kReason = "this build of the core has no CUDA: nvcc was not found when it was built, or M2_CUDA was off";
}

CudaProbe probe_cuda() {
  CudaProbe probe;
  probe.reason = kReason;
  return probe;
}

DeviceMemory device_memory(int, const std::string& device) { fail("DEVICE_UNAVAILABLE", "device \"", device, "\": ", kReason); }

std::unique_ptr<Backend> cuda::make_cuda_backend(int, const std::string& device) { fail("DEVICE_UNAVAILABLE", "device \"", device, "\": ", kReason); }

}  // namespace m2
