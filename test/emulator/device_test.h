// What tests of the emulated device share: device memory as vectors, launches by the kernel's own name, seeds, and what a failed launch has to say.
#pragma once
#include <cmath>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "check.h"
#include "cuda/device.h"
#include "cuda/launch.h"
#include "emulator/control.h"

namespace m2::test {

constexpr uint64_t kSeeds = 12;  // every order of threads with every time of completion

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
  emulator::name_next_launch(cuda::kernel_name<kKernel>());
  return cuda::launch_converted(config, kKernel, std::forward<A>(arguments)...);
}

// A launch that has run when this returns.
template <auto kKernel, class... A>
void run_kernel(const Shape& shape, A&&... arguments) {
  succeed(start<kKernel>(shape, std::forward<A>(arguments)...));
  succeed(cudaDeviceSynchronize());
}

// A launch that fails, and what is said about it. The device is as new afterwards.
template <auto kKernel, class... A>
std::string report_of(const Shape& shape, A&&... arguments) {
  cudaError_t status = start<kKernel>(shape, std::forward<A>(arguments)...);
  if (status == cudaSuccess) status = cudaDeviceSynchronize();
  const std::string report = status == cudaSuccess ? "" : emulator::last_report();
  emulator::reset_device();
  return report;
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// body() once for each seed, each time with a new device.
template <class Body>
void for_each_seed(Body body, uint64_t seeds = kSeeds) {
  for (uint64_t seed = 0; seed < seeds; seed++) {
    emulator::settings().seed = seed;
    emulator::reset_device();
    try {
      body();
    } catch (const std::exception& error) {
      emulator::settings().seed = 0;
      emulator::reset_device();
      throw std::runtime_error("seed " + std::to_string(seed) + ": " + error.what());
    }
  }
  emulator::settings().seed = 0;
  emulator::reset_device();
}

inline std::vector<__nv_bfloat16> random_bf16(std::mt19937& random, size_t count, float scale = 1) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<__nv_bfloat16> values(count);
  for (__nv_bfloat16& v : values) v = __float2bfloat16_rn(normal(random));
  return values;
}

// Relative Frobenius error; NaN where `got` has one.
template <class T>
double error_of(const std::vector<T>& got, const std::vector<double>& truth) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < truth.size(); i++) {
    const double d = static_cast<double>(static_cast<float>(got[i])) - truth[i];
    difference += d * d;
    size += truth[i] * truth[i];
  }
  return std::sqrt(difference / size);
}

}  // namespace m2::test
