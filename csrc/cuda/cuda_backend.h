// The CUDA backend: NVIDIA GPUs of compute capability 8.0 and newer; over csrc/emulator the same sources are the device "emulated". All work goes to
// one stream in the order of the calls; decode steps are recorded as CUDA graphs. An instance serves one thread at a time.
#pragma once
#include "core/ops.h"

namespace m2::cuda {

// The `ordinal`-th GPU, which the user calls `device`. Throws DEVICE_UNAVAILABLE where it is not there or cannot be used.
std::unique_ptr<Backend> make_cuda_backend(int ordinal, const std::string& device);

}  // namespace m2::cuda
