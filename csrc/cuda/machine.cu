#include "cuda/machine.h"

#include "cuda/check.h"

namespace m2::cuda {
namespace {

std::string version_text(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

// Why there is no device, in words that say what to do.
[[noreturn]] void unavailable(int ordinal, const std::string& why) { fail("DEVICE_UNAVAILABLE", "device \"cuda:", ordinal, "\": ", why); }

int count_devices(int ordinal) {
  int driver = 0, runtime = 0, devices = 0;
  cudaRuntimeGetVersion(&runtime);
  cudaDriverGetVersion(&driver);
  const cudaError_t status = cudaGetDeviceCount(&devices);
  cudaGetLastError();
  if (driver == 0) unavailable(ordinal, "no NVIDIA driver was found");
  if (status == cudaErrorInsufficientDriver)
    unavailable(ordinal, "the NVIDIA driver supports CUDA up to " + version_text(driver) + ", this build needs " + version_text(runtime) + "; update the driver");
  if (status != cudaSuccess && status != cudaErrorNoDevice) unavailable(ordinal, cudaGetErrorString(status));
  return devices;
}

Buffer allocated(void* data, size_t bytes, cudaError_t status, cudaError_t (*release)(void*), const char* kind) {
  if (status == cudaSuccess) return Buffer(data, bytes, [release](void* p) { release(p); });
  cudaGetLastError();
  if (status != cudaErrorMemoryAllocation) check(status, "allocating memory");
  size_t free = 0, total = 0;
  cudaMemGetInfo(&free, &total);
  cudaGetLastError();
  fail("OUT_OF_MEMORY", kind, ": expected room for ", bytes, " bytes, found ", free, " of ", total, " free on the device");
}

}  // namespace

Buffer allocate_device(size_t bytes) {
  void* data = nullptr;
  const cudaError_t status = bytes == 0 ? cudaSuccess : cudaMalloc(&data, bytes);
  return allocated(data, bytes, status, [](void* p) { return cudaFree(p); }, "memory of the device");
}

Buffer allocate_pinned(size_t bytes) {
  void* data = nullptr;
  const cudaError_t status = bytes == 0 ? cudaSuccess : cudaMallocHost(&data, bytes);
  return allocated(data, bytes, status, [](void* p) { return cudaFreeHost(p); }, "pinned memory of the host");
}

Machine::Machine(int ordinal) : ordinal_(ordinal) {
  const int devices = count_devices(ordinal);
  if (devices == 0) unavailable(ordinal, "the driver shows no device");
  if (ordinal >= devices) unavailable(ordinal, "there are " + std::to_string(devices) + " devices, the last is \"cuda:" + std::to_string(devices - 1) + "\"");
  check(cudaSetDevice(ordinal), "choosing the device");
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, ordinal), "reading the device's properties");
  name_ = properties.name;
  architecture_ = 10 * properties.major + properties.minor;
  multiprocessors_ = properties.multiProcessorCount;
  shared_per_block_ = properties.sharedMemPerBlockOptin;
  memory_ = properties.totalGlobalMem;
  if (architecture_ < kOldestArchitecture)
    unavailable(ordinal, name_ + " has compute capability " + std::to_string(properties.major) + "." + std::to_string(properties.minor) + ", expected 8.0 or newer");
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
}

Machine::~Machine() {
  if (!stream_) return;
  cudaStreamSynchronize(stream_);
  cudaStreamDestroy(stream_);
}

void* Machine::scratch(size_t bytes) const {
  if (bytes > scratch_.bytes()) {
    check(cudaStreamSynchronize(stream_), "waiting for the device");
    scratch_ = Buffer();
    scratch_ = allocate_device(bytes);
  }
  return scratch_.data();
}

}  // namespace m2::cuda
