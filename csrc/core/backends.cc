// The factory: the one place that knows which backends exist. It is compiled once for each addon: that of the emulated device has no GPU.
#include "core/ops.h"
#include "cpu/cpu_backend.h"
#include "cuda/cuda_backend.h"

namespace m2 {

#ifdef M2_EMULATED
int device_ordinal(const std::string& device) {
  if (device == "emulated") return 0;
  fail("DEVICE_UNAVAILABLE", "device \"", device, "\" is not one that this build has; expected \"cpu\" or \"emulated\"");
}
#else
int device_ordinal(const std::string& device) {
  if (device == "cuda") return 0;
  const std::string number = device.starts_with("cuda:") ? device.substr(5) : "";
  if (!number.empty() && number.size() < 4 && number.find_first_not_of("0123456789") == std::string::npos) return std::stoi(number);
  fail("DEVICE_UNAVAILABLE", "device \"", device, "\" is not one that this build has; expected \"cpu\", \"cuda\" or \"cuda:0\"");
}
#endif

std::unique_ptr<Backend> make_backend(const std::string& device, int threads) {
  if (device == "cpu") return cpu::make_cpu_backend(threads);
  return cuda::make_cuda_backend(device_ordinal(device), device);
}

}  // namespace m2
