// The one way to start a kernel: launch<my_kernel<128>>(machine, {.grid = .., .block = .., .shared = ..}, arguments...).
// Asks for the dynamic shared memory that a block gets only on request, lets the kernel begin while the one before it still runs (kernels wait with
// ptx::wait_for_previous_kernel before they touch what that one writes or reads), and throws DEVICE_ERROR with the kernel's name where it fails.
#pragma once
#include <string>
#include <string_view>
#include <utility>

#include "cuda/check.h"
#include "cuda/device.h"
#include "cuda/machine.h"

namespace m2::cuda {

struct Launch {
  dim3 grid, block;
  size_t shared = 0;  // bytes of dynamic shared memory
};

// "merge_kernel<128, 16>", from how the compiler prints this function; without namespaces.
template <auto kKernel>
const std::string& kernel_name() {
  static const std::string name = [](std::string_view text) {
    text.remove_prefix(text.find("kKernel = ") + 10);
    text = text.substr(0, text.find_first_of(";]"));
    const size_t scope = text.rfind("::", text.find('<'));
    return std::string(scope == std::string_view::npos ? text : text.substr(scope + 2));
  }(__PRETTY_FUNCTION__);
  return name;
}

template <class... P, class... A>
cudaError_t launch_converted(const cudaLaunchConfig_t& config, void (*kernel)(P...), A&&... arguments) {
  static_assert(sizeof...(P) == sizeof...(A), "a kernel's number of arguments");
  return cudaLaunchKernelEx(&config, kernel, static_cast<P>(std::forward<A>(arguments))...);
}

template <auto kKernel, class... A>
void launch(const Machine& machine, const Launch& l, A&&... arguments) {
  constexpr size_t kGranted = 40 * 1024;  // of 48 KiB, which static shared memory is part of
  const std::string& name = kernel_name<kKernel>();
  if (l.shared > kGranted) {
    check(cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(l.shared)), name.c_str());
  }
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = l.grid;
  config.blockDim = l.block;
  config.dynamicSmemBytes = l.shared;
  config.stream = machine.stream();
  config.attrs = &overlap;
  config.numAttrs = machine.overlaps_kernels() ? 1 : 0;
#ifdef M2_EMULATED
  emulator::name_next_launch(name);
#endif
  check(launch_converted(config, kKernel, std::forward<A>(arguments)...), name.c_str());
}

}  // namespace m2::cuda
