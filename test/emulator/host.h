// What tests of the emulated device's host side share: small kernels, handles that are destroyed with their objects, and refusals.
#pragma once
#include <utility>

#include "cuda/ptx/launch.h"
#include "device_test.h"

namespace m2::test {

// Kernels in the order in which they run: each appends a digit, so that the number tells.
inline __global__ void append_kernel(int* number, int digit) { *number = *number * 10 + digit; }
inline __global__ void copy_kernel(int* to, const int* from, int count) {
  for (int i = threadIdx.x; i < count; i += blockDim.x) to[i] = from[i];
}

// Lets the kernel behind it begin before it writes what that one is to read, and tells whether that has begun.
inline __global__ void producer_kernel(int* value, int* begun, int* saw_the_next) {
  cuda::ptx::let_next_kernel_start();
  *saw_the_next = atomicAdd(begun, 0);
  *value = 7;
}
template <bool kWaits = true>
__global__ void consumer_kernel(int* out, const int* value, int* begun) {
  atomicExch(begun, 1);
  if (kWaits) cuda::ptx::wait_for_previous_kernel();
  *out = *value;
}

inline void append(int* number, int digit, cudaStream_t stream = nullptr) {
  succeed(start<append_kernel>({.grid = 1, .block = 1, .stream = stream}, number, digit));
}

template <class Handle, cudaError_t (*kDestroy)(Handle)>
class Owned {
 public:
  explicit Owned(Handle handle) : handle_(handle) {}
  Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Owned& operator=(Owned&&) = delete;
  ~Owned() {
    if (handle_) kDestroy(handle_);
  }
  operator Handle() const { return handle_; }

 private:
  Handle handle_;
};
using OwnedStream = Owned<cudaStream_t, cudaStreamDestroy>;
using OwnedEvent = Owned<cudaEvent_t, cudaEventDestroy>;
using OwnedGraph = Owned<cudaGraph_t, cudaGraphDestroy>;
using OwnedExec = Owned<cudaGraphExec_t, cudaGraphExecDestroy>;

inline OwnedStream make_stream(unsigned flags = cudaStreamNonBlocking) {
  cudaStream_t stream;
  succeed(cudaStreamCreateWithFlags(&stream, flags));
  return OwnedStream(stream);
}
inline OwnedEvent make_event(unsigned flags = cudaEventDisableTiming) {
  cudaEvent_t event;
  succeed(cudaEventCreateWithFlags(&event, flags));
  return OwnedEvent(event);
}
inline OwnedExec instantiate(cudaGraph_t graph) {
  cudaGraphExec_t exec;
  succeed(cudaGraphInstantiate(&exec, graph));
  return OwnedExec(exec);
}

// Pinned memory of T, freed with the object.
template <class T>
class PinnedArray {
 public:
  explicit PinnedArray(size_t count, T value = {}) {
    succeed(cudaMallocHost(&data_, count * sizeof(T)));
    std::fill_n(data_, count, value);
  }
  ~PinnedArray() { cudaFreeHost(data_); }
  PinnedArray(const PinnedArray&) = delete;
  PinnedArray& operator=(const PinnedArray&) = delete;

  T* data() const { return data_; }
  T& operator[](size_t i) const { return data_[i]; }

 private:
  T* data_ = nullptr;
};

// A call that is to fail so, and with these words in the report.
inline void refused(cudaError_t got, cudaError_t expected, const char* words = "", const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (got != expected) fail_here(file, line, cudaGetErrorName(got), " where ", cudaGetErrorName(expected), " was expected");
  if (*words && !contains(emulator::last_report(), words)) fail_here(file, line, "nobody said \"", words, "\" but: ", emulator::last_report());
}

// What the seed says of asynchronous work: it waits until it is needed, it runs at the call, or either.
inline bool runs_late() { return emulator::settings().seed % 3 == 0; }
inline bool runs_early() { return emulator::settings().seed % 3 == 1; }

}  // namespace m2::test
