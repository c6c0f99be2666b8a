// The factory: the one place that knows which backends exist. It is compiled once for each addon: the addon of the emulated device has no GPU.
#include "core/ops.h"
#include "cpu/cpu_backend.h"
#include "cuda/cuda_backend.h"

namespace m2 {

std::unique_ptr<Backend> make_backend(const std::string& device, int threads) {
  if (device == "cpu") return cpu::make_cpu_backend(threads);
#ifdef M2_EMULATED
  if (device == "emulated") return cuda::make_cuda_backend(0, device);
  fail("DEVICE_UNAVAILABLE", "device \"", device, "\" is not one that this build has; expected \"cpu\" or \"emulated\"");
#else
  if (device == "cuda") return cuda::make_cuda_backend(0, "cuda:0");
  if (device.starts_with("cuda:") && device.size() > 5 && device.size() < 9 && device.find_first_not_of("0123456789", 5) == std::string::npos)
    return cuda::make_cuda_backend(std::stoi(device.substr(5)), device);
  fail("DEVICE_UNAVAILABLE", "device \"", device, "\" is not one that this build has; expected \"cpu\", \"cuda\" or \"cuda:0\"");
#endif
}

}  // namespace m2
