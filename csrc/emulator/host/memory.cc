// cudaMalloc and its like, copies and fills.
#include "emulator/host/api.h"
#include "emulator/host/device.h"
#include "emulator/settings.h"

namespace m2::emulator {
namespace {

cudaError_t allocate(Device& d, void** pointer, size_t bytes, Place place, Site site) {
  if (!pointer) return cudaErrorInvalidValue;
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  if (place == Place::kDevice && bytes > settings().memory - allocations().device_bytes()) return cudaErrorMemoryAllocation;
  const Allocation* a = allocations().add(bytes, place, site);
  if (!a) return cudaErrorMemoryAllocation;
  *pointer = a->data;
  static_cast<void>(d);
  return cudaSuccess;
}

cudaError_t release(Device& d, void* pointer, Place place, const char* what) {
  if (!pointer) return cudaSuccess;
  if (const cudaError_t error = d.complete_all(); error != cudaSuccess) return error;
  if (allocations().remove(pointer, place)) return cudaSuccess;
  return d.refuse(cudaErrorInvalidValue, std::string(what) + ": " + allocations().describe(pointer));
}

enum class Memory { kDevice, kPinned, kPageable };

Memory memory_of(const void* p) {
  const Allocation* a = allocations().find(p, 0);
  return !a ? Memory::kPageable : a->place == Place::kDevice ? Memory::kDevice : Memory::kPinned;
}

cudaError_t copy(Device& d, void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t handle, bool waits) {
  if (bytes == 0) return cudaSuccess;
  const std::shared_ptr<Stream> stream = d.stream(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  const Memory target = memory_of(to), source = memory_of(from);
  if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault) return cudaErrorInvalidMemcpyDirection;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (kind != cudaMemcpyDefault && (to_device != (target == Memory::kDevice) || from_device != (source == Memory::kDevice))) {
    return d.refuse(cudaErrorInvalidValue, "a copy's kind does not fit its pointers: to " + allocations().describe(to) + ", from " + allocations().describe(from));
  }
  if (target != Memory::kPageable && !allocations().find(to, bytes)) {
    return d.refuse(cudaErrorInvalidValue, "a copy of " + std::to_string(bytes) + " bytes to " + allocations().describe(to));
  }
  if (source != Memory::kPageable && !allocations().find(from, bytes)) {
    return d.refuse(cudaErrorInvalidValue, "a copy of " + std::to_string(bytes) + " bytes from " + allocations().describe(from));
  }
  d.enqueue(stream, CopyWork{to, from, bytes, nullptr, source != Memory::kDevice, target != Memory::kDevice});
  return waits ? d.complete(stream, stream->issued) : d.sticky;
}

cudaError_t fill(Device& d, void* to, int value, size_t bytes, cudaStream_t handle) {
  if (bytes == 0) return cudaSuccess;
  const std::shared_ptr<Stream> stream = d.stream(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (!allocations().find(to, bytes)) return d.refuse(cudaErrorInvalidValue, "a fill of " + std::to_string(bytes) + " bytes: " + allocations().describe(to));
  d.enqueue(stream, FillWork{to, value, bytes});
  return d.sticky;
}

}  // namespace
}  // namespace m2::emulator

using namespace m2::emulator;

cudaError_t cudaMalloc(void** pointer, size_t bytes, Site site) {
  return call([&](Device& d) { return allocate(d, pointer, bytes, Place::kDevice, site); });
}
cudaError_t cudaMallocHost(void** pointer, size_t bytes, Site site) {
  return call([&](Device& d) { return allocate(d, pointer, bytes, Place::kPinned, site); });
}
cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned, Site site) {
  return call([&](Device& d) { return allocate(d, pointer, bytes, Place::kPinned, site); });
}
cudaError_t cudaFree(void* pointer) {
  return call([&](Device& d) { return release(d, pointer, Place::kDevice, "cudaFree"); });
}
cudaError_t cudaFreeHost(void* pointer) {
  return call([&](Device& d) { return release(d, pointer, Place::kPinned, "cudaFreeHost"); });
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  return call([&](Device&) {
    *total = settings().memory;
    *free = settings().memory - allocations().device_bytes();
    return cudaSuccess;
  });
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  return call([&](Device&) {
    const Memory memory = memory_of(pointer);
    void* p = const_cast<void*>(pointer);
    *attributes = {memory == Memory::kDevice ? cudaMemoryTypeDevice : memory == Memory::kPinned ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered,
                   memory == Memory::kPageable ? -2 : 0, memory == Memory::kPageable ? nullptr : p, memory == Memory::kDevice ? nullptr : p};
    return cudaSuccess;
  });
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, Site) {
  return call([&](Device& d) { return copy(d, to, from, bytes, kind, nullptr, true); });
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream, Site) {
  return call([&](Device& d) { return copy(d, to, from, bytes, kind, stream, false); });
}
cudaError_t cudaMemset(void* to, int value, size_t bytes, Site) {
  return call([&](Device& d) { return fill(d, to, value, bytes, nullptr); });
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream, Site) {
  return call([&](Device& d) { return fill(d, to, value, bytes, stream); });
}
