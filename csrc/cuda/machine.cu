#include "cuda/machine.h"

#include "cuda/check.h"

namespace m2::cuda {
namespace {

constexpr int64_t kCounters = 1 << 14;

std::string version_text(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

// Why there is no device, in words that say what to do.
[[noreturn]] void unavailable(const std::string& device, const std::string& why) { fail("DEVICE_UNAVAILABLE", "device \"", device, "\": ", why); }

int count_devices(const std::string& device) {
  int driver = 0, runtime = 0, devices = 0;
  cudaError_t status = cudaRuntimeGetVersion(&runtime);
  if (status == cudaSuccess) status = cudaDriverGetVersion(&driver);
  if (status == cudaSuccess && driver > 0) status = cudaGetDeviceCount(&devices);
  cudaGetLastError();
  if (status == cudaSuccess && driver == 0) unavailable(device, "no NVIDIA driver was found");
  if (status == cudaErrorInsufficientDriver)
    unavailable(device, "the NVIDIA driver supports CUDA up to " + version_text(driver) + ", this build needs " + version_text(runtime) + "; update the driver");
  if (status != cudaSuccess && status != cudaErrorNoDevice) unavailable(device, cudaGetErrorString(status));
  return devices;
}

// Whether a call of the runtime gave memory; throws where it failed for any other reason than that there is none.
bool given(cudaError_t status) {
  if (status == cudaErrorMemoryAllocation) cudaGetLastError();
  else check(status, "allocating memory");
  return status == cudaSuccess;
}

}  // namespace

Buffer allocate_device(size_t bytes) {
  void* data = nullptr;
  if (bytes > 0 && !given(cudaMalloc(&data, bytes))) {
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "asking for the device's memory");
    fail("OUT_OF_MEMORY", "memory of the device: expected room for ", bytes, " bytes, found ", free, " of ", total, " free");
  }
  return Buffer(data, bytes, [](void* p) { cudaFree(p); });
}

Buffer allocate_pinned(size_t bytes) {
  void* data = nullptr;
  if (bytes > 0 && !given(cudaMallocHost(&data, bytes))) fail("OUT_OF_MEMORY", "pinned memory of the host: expected room for ", bytes, " bytes, the driver found none");
  return Buffer(data, bytes, [](void* p) { cudaFreeHost(p); });
}

Machine::Machine(int ordinal, const std::string& device) : ordinal_(ordinal) {
  const int devices = count_devices(device);
  if (devices == 0) unavailable(device, "the driver shows no device");
  if (ordinal >= devices) unavailable(device, "there are " + std::to_string(devices) + " devices, the last is \"cuda:" + std::to_string(devices - 1) + "\"");
  check(cudaSetDevice(ordinal), "choosing the device");
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, ordinal), "reading the device's properties");
  name_ = properties.name;
  architecture_ = 10 * properties.major + properties.minor;
  multiprocessors_ = properties.multiProcessorCount;
  shared_per_block_ = properties.sharedMemPerBlockOptin;
  memory_ = properties.totalGlobalMem;
  if (architecture_ < kOldestArchitecture)
    unavailable(device, name_ + " has compute capability " + std::to_string(properties.major) + "." + std::to_string(properties.minor) + ", expected 8.0 or newer");
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
  stream_.reset(stream);
  counters_ = allocate_device(kCounters * sizeof(uint32_t));
  check(cudaMemsetAsync(counters_.data(), 0, counters_.bytes(), stream), "clearing counters");
}

void* Machine::scratch(size_t bytes) const {
  if (bytes > scratch_.bytes()) {
    check(cudaStreamSynchronize(stream()), "waiting for the device");
    scratch_ = Buffer();
    scratch_ = allocate_device(bytes);
  }
  return scratch_.data();
}

uint32_t* Machine::counters(int64_t n) const {
  expect(n <= kCounters, n, " counters, there are ", kCounters);
  return static_cast<uint32_t*>(counters_.data());
}

}  // namespace m2::cuda
