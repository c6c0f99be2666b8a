// The factory: the one place that knows which backends exist.
#include "core/ops.h"
#include "cpu/cpu_backend.h"

namespace m2 {

std::unique_ptr<Backend> make_backend(const std::string& device, int threads) {
  if (device == "cpu") return cpu::make_cpu_backend(threads);
  if (device.starts_with("cuda")) fail("DEVICE_UNAVAILABLE", "device \"", device, "\": this build has no CUDA backend; use \"cpu\"");
  fail("DEVICE_UNAVAILABLE", "device \"", device, "\" is not one that this build has; expected \"cpu\"");
}

}  // namespace m2
