// Device memory as vectors, and launches by the kernel's own name: on the emulated device and on a GPU.
#pragma once
#include <vector>

#include "check.h"
#include "cuda/launch.h"

namespace m2::test {

inline void succeed(cudaError_t status, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (status != cudaSuccess) fail_here(file, line, cudaGetErrorName(status), ": ", cudaGetErrorString(status));
}

// Device memory of T, freed with the object.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) : count_(count) { succeed(cudaMalloc(&data_, count * sizeof(T))); }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    succeed(cudaMemcpy(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return data_; }
  size_t size() const { return count_; }
  std::vector<T> values() const {
    std::vector<T> out(count_);
    succeed(cudaMemcpy(out.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return out;
  }

 private:
  T* data_ = nullptr;
  size_t count_;
};

struct Shape {
  dim3 grid, block;
  size_t shared = 0;
  cudaStream_t stream = nullptr;
  unsigned cluster = 1;
  bool cooperative = false, overlaps = false;
};

template <auto kKernel, class... A>
cudaError_t start(const Shape& shape, A&&... arguments) {
  if (shape.shared > 48 * 1024) succeed(cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shape.shared)));
  cudaLaunchAttribute attributes[3];
  unsigned count = 0;
  if (shape.cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count++].val.clusterDim = {shape.cluster, 1, 1};
  }
  if (shape.cooperative) {
    attributes[count].id = cudaLaunchAttributeCooperative;
    attributes[count++].val.cooperative = 1;
  }
  if (shape.overlaps) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared;
  config.stream = shape.stream;
  config.attrs = attributes;
  config.numAttrs = count;
#ifdef M2_EMULATED
  emulator::name_next_launch(cuda::kernel_name<kKernel>());
#endif
  return cuda::launch_converted(config, kKernel, std::forward<A>(arguments)...);
}

// A launch that has run when this returns.
template <auto kKernel, class... A>
void run_kernel(const Shape& shape, A&&... arguments) {
  succeed(start<kKernel>(shape, std::forward<A>(arguments)...));
  succeed(cudaDeviceSynchronize());
}

}  // namespace m2::test
