// The calls of CUDA's runtime that the emulated device answers. They mean what CUDA's documentation says, at the edge that finds most bugs: work runs
// only when a wait needs it, copies read and write as late as they may, and what is not allowed fails.
#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "emulator/host/types.h"
#include "emulator/kernel_body.h"
#include "emulator/site.h"

#define M2_HERE m2::emulator::Site site = m2::emulator::Site::here()

constexpr int CUDART_VERSION = 12080;

// Device
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaDeviceSynchronize(M2_HERE);

// The driver's function of that name
cudaError_t cudaGetDriverEntryPoint(const char* name, void** function, unsigned long long flags, cudaDriverEntryPointQueryResult* result = nullptr);
cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned version, unsigned long long flags,
                                             cudaDriverEntryPointQueryResult* result = nullptr);

// Errors
const char* cudaGetErrorString(cudaError_t error);
const char* cudaGetErrorName(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();

// Memory
cudaError_t cudaMalloc(void** pointer, size_t bytes, M2_HERE);
cudaError_t cudaFree(void* pointer);
cudaError_t cudaMallocHost(void** pointer, size_t bytes, M2_HERE);
cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned flags, M2_HERE);
cudaError_t cudaFreeHost(void* pointer);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer);
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, M2_HERE);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream = nullptr, M2_HERE);
cudaError_t cudaMemset(void* to, int value, size_t bytes, M2_HERE);
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream = nullptr, M2_HERE);

template <class T>
cudaError_t cudaMalloc(T** pointer, size_t bytes, M2_HERE) {
  return cudaMalloc(reinterpret_cast<void**>(pointer), bytes, site);
}
template <class T>
cudaError_t cudaMallocHost(T** pointer, size_t bytes, M2_HERE) {
  return cudaMallocHost(reinterpret_cast<void**>(pointer), bytes, site);
}
template <class T>
cudaError_t cudaHostAlloc(T** pointer, size_t bytes, unsigned flags, M2_HERE) {
  return cudaHostAlloc(reinterpret_cast<void**>(pointer), bytes, flags, site);
}

// Streams and events
cudaError_t cudaStreamCreate(cudaStream_t* stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int priority);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream, M2_HERE);
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0, M2_HERE);
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data);
cudaError_t cudaEventCreate(cudaEvent_t* event);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = nullptr, M2_HERE);
cudaError_t cudaEventSynchronize(cudaEvent_t event, M2_HERE);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end);

// Graphs
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status);
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long flags = 0);
cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream, M2_HERE);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);

namespace m2::emulator {

// The kernel's name in reports; of the calling thread's next launch.
void name_next_launch(const std::string& name);

struct KernelCall {
  const void* kernel;
  KernelBody body;
  std::vector<const void*> pointers;  // those of its arguments that are pointers
};
cudaError_t launch(const cudaLaunchConfig_t& config, KernelCall call);

cudaError_t set_function_attribute(const void* kernel, cudaFuncAttribute attribute, int value);
cudaError_t function_attributes(const void* kernel, cudaFuncAttributes* attributes);
cudaError_t resident_blocks(int* blocks, const void* kernel, int threads, size_t shared);

template <class... P>
struct Arguments {
  void (*kernel)(P...);
  std::tuple<std::remove_cv_t<P>...> values;
};

template <class... P>
__attribute__((no_sanitize("thread"))) void call_kernel(const void* arguments) {
  using All = Arguments<P...>;
  alignas(All) unsigned char local[sizeof(All)];
  copy_arguments(local, arguments, sizeof(All));
  const All& all = *reinterpret_cast<const All*>(local);
  std::apply(all.kernel, all.values);
}

}  // namespace m2::emulator

template <class... P, class... A>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(P...), A&&... arguments) {
  static_assert(sizeof...(P) == sizeof...(A), "a kernel's number of arguments");
  m2::emulator::KernelCall call;
  call.kernel = reinterpret_cast<const void*>(kernel);
  static_assert((std::is_trivially_copyable_v<P> && ...), "a kernel's arguments are copied byte by byte");
  const auto all = std::make_shared<m2::emulator::Arguments<P...>>(
      m2::emulator::Arguments<P...>{kernel, std::tuple<std::remove_cv_t<P>...>(static_cast<P>(std::forward<A>(arguments))...)});
  std::apply(
      [&call](const auto&... argument) {
        [[maybe_unused]] const auto note = [&call](const auto& value) {
          if constexpr (std::is_pointer_v<std::decay_t<decltype(value)>>) call.pointers.push_back(value);
        };
        (note(argument), ...);
      },
      all->values);
  call.body = {all, m2::emulator::call_kernel<P...>};
  return m2::emulator::launch(*config, std::move(call));
}

template <class T>
cudaError_t cudaFuncSetAttribute(T* kernel, cudaFuncAttribute attribute, int value) {
  return m2::emulator::set_function_attribute(reinterpret_cast<const void*>(kernel), attribute, value);
}
template <class T>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, T* kernel) {
  return m2::emulator::function_attributes(reinterpret_cast<const void*>(kernel), attributes);
}
template <class T>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, T kernel, int threads, size_t shared) {
  return m2::emulator::resident_blocks(blocks, reinterpret_cast<const void*>(kernel), threads, shared);
}

#undef M2_HERE
