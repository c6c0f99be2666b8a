// cudaMalloc and its like, copies and fills.
//
// Copies from pinned memory read it when they run, and it is looked up then whether the host has changed it in between; pageable memory is read before
// the call returns. Pinned memory that is copied to is filled with 0xff at the call; a copy to pageable memory, or of host memory to host memory, has run when
// the call returns.
#include <cstring>

#include "emulator/host/api.h"
#include "emulator/host/device.h"
#include "emulator/settings.h"

namespace m2::emulator {
namespace {

cudaError_t allocate(Device& d, void** pointer, size_t bytes, Place place, Site site, const char* what) {
  if (!pointer) return cudaErrorInvalidValue;
  *pointer = nullptr;
  if (const cudaError_t error = d.forbid_in_capture(what); error != cudaSuccess) return error;
  if (bytes == 0) return cudaSuccess;
  if (place == Place::kDevice && bytes > settings().memory - allocations().device_bytes()) return cudaErrorMemoryAllocation;
  const Allocation* a = allocations().add(bytes, place, site);
  if (!a) return cudaErrorMemoryAllocation;
  *pointer = a->data;
  return cudaSuccess;
}

// Waits for all work, as CUDA does.
cudaError_t release(Device& d, void* pointer, Place place, const char* what) {
  if (!pointer) return cudaSuccess;
  if (const cudaError_t error = d.forbid_in_capture(what); error != cudaSuccess) return error;
  if (const cudaError_t error = d.complete_all(); error != cudaSuccess) return error;
  M2_TRACE(if (const Allocation* a = allocations().find(pointer, 0)) trace::forget_memory(a->data, a->bytes))
  if (allocations().remove(pointer, place)) return cudaSuccess;
  return d.refuse(cudaErrorInvalidValue, std::string(what) + ": " + allocations().describe(pointer));
}

enum class Memory { kDevice, kPinned, kPageable };

Memory memory_of(const void* p) {
  const Allocation* a = allocations().find(p, 0);
  return !a ? Memory::kPageable : a->place == Place::kDevice ? Memory::kDevice : Memory::kPinned;
}

cudaError_t check_copy(Device& d, void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault) return cudaErrorInvalidMemcpyDirection;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  const Memory target = memory_of(to), source = memory_of(from);
  if (kind != cudaMemcpyDefault && (to_device != (target == Memory::kDevice) || from_device != (source == Memory::kDevice))) {
    return d.refuse(cudaErrorInvalidValue, "a copy's kind does not fit its pointers: to " + allocations().describe(to) + ", from " + allocations().describe(from));
  }
  const std::string what = "a copy of " + std::to_string(bytes) + " bytes ";
  if (target != Memory::kPageable && !allocations().find(to, bytes)) return d.refuse(cudaErrorInvalidValue, what + "to " + allocations().describe(to));
  if (source != Memory::kPageable && !allocations().find(from, bytes)) return d.refuse(cudaErrorInvalidValue, what + "from " + allocations().describe(from));
  return cudaSuccess;
}

cudaError_t copy(Device& d, void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t handle, bool waits, Site site) {
  const std::shared_ptr<Stream> stream = d.stream(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (bytes == 0) return cudaSuccess;
  if (const cudaError_t error = check_copy(d, to, from, bytes, kind); error != cudaSuccess) return error;
  const Memory target = memory_of(to), source = memory_of(from);
  CopyWork work{to, from, bytes, target != Memory::kDevice, source != Memory::kDevice, nullptr, false, 0, site};
  if (stream->capture) {
    if (target == Memory::kPageable || source == Memory::kPageable) {
      stream->capture->invalid = true;
      return d.refuse(cudaErrorStreamCaptureUnsupported, "a captured copy of pageable memory");
    }
    return d.enqueue(stream, std::move(work));
  }
  if (source != Memory::kDevice && target != Memory::kDevice) waits = true;
  if (source == Memory::kPageable) {
    const uint8_t* first = static_cast<const uint8_t*>(from);
    work.staged = std::make_shared<std::vector<uint8_t>>(first, first + bytes);
  } else if (source == Memory::kPinned && !d.uses_host_memory(from, bytes, true)) {
    work.watched = true;
    work.hash = hash_bytes(from, bytes);
  }
  if (target == Memory::kPinned && !d.uses_host_memory(to, bytes, false)) std::memset(to, 0xff, bytes);
  if (target == Memory::kPageable) waits = true;
  const cudaError_t error = d.enqueue(stream, std::move(work));
  return waits && error == cudaSuccess ? d.complete(end_of(stream)) : error;
}

cudaError_t fill(Device& d, void* to, int value, size_t bytes, cudaStream_t handle, Site site) {
  const std::shared_ptr<Stream> stream = d.stream(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (bytes == 0) return cudaSuccess;
  if (!allocations().find(to, bytes)) return d.refuse(cudaErrorInvalidValue, "a fill of " + std::to_string(bytes) + " bytes: " + allocations().describe(to));
  return d.enqueue(stream, FillWork{to, value, bytes, site});
}

}  // namespace
}  // namespace m2::emulator

using namespace m2::emulator;

cudaError_t cudaMalloc(void** pointer, size_t bytes, Site site) {
  return call([&](Device& d) { return allocate(d, pointer, bytes, Place::kDevice, site, "cudaMalloc"); });
}
cudaError_t cudaMallocHost(void** pointer, size_t bytes, Site site) {
  return call([&](Device& d) { return allocate(d, pointer, bytes, Place::kPinned, site, "cudaMallocHost"); });
}
cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned, Site site) {
  return call([&](Device& d) { return allocate(d, pointer, bytes, Place::kPinned, site, "cudaHostAlloc"); });
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

// Waits for the copy, except from pageable memory to the device: that has only been read.
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, Site site) {
  return call([&](Device& d) { return copy(d, to, from, bytes, kind, nullptr, memory_of(from) != Memory::kPageable, site); });
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream, Site site) {
  return call([&](Device& d) { return copy(d, to, from, bytes, kind, stream, false, site); });
}
cudaError_t cudaMemset(void* to, int value, size_t bytes, Site site) {
  return call([&](Device& d) { return fill(d, to, value, bytes, nullptr, site); });
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream, Site site) {
  return call([&](Device& d) { return fill(d, to, value, bytes, stream, site); });
}
