#include "cuda/staging.h"

namespace m2::cuda {

Staging::Staging(const Machine& machine) : machine_(machine) {
  for (Slot& slot : slots_) {
    slot.pinned = allocate_pinned(kBytes);
    slot.device = allocate_device(kBytes);
  }
}

Staging::Slot& Staging::next() {
  Slot& slot = slots_[turn_++ % 2];
  check(cudaEventSynchronize(slot.free), "waiting for a copy");
  return slot;
}

Staging::Slot& Staging::fill(const void* host, size_t bytes) {
  Slot& slot = next();
  std::memcpy(slot.pinned.data(), host, bytes);
  return slot;
}

void Staging::release(Slot& slot) { check(cudaEventRecord(slot.free, machine_.stream()), "recording an event"); }

void Staging::upload(void* device, const void* host, size_t bytes) {
  for (size_t done = 0; done < bytes; done += kBytes) {
    const size_t part = std::min(bytes - done, kBytes);
    Slot& slot = fill(static_cast<const char*>(host) + done, part);
    check(cudaMemcpyAsync(static_cast<char*>(device) + done, slot.pinned.data(), part, cudaMemcpyHostToDevice, machine_.stream()), "copying to the device");
    release(slot);
  }
}

void Staging::download(void* host, const void* device, size_t bytes) {
  Slot* coming = nullptr;  // with the part before the one that is asked for
  size_t first = 0, size = 0;
  const auto take = [&] {
    check(cudaEventSynchronize(coming->free), "waiting for a copy");
    std::memcpy(static_cast<char*>(host) + first, coming->pinned.data(), size);
  };
  for (size_t done = 0; done < bytes; done += kBytes) {
    const size_t part = std::min(bytes - done, kBytes);
    Slot& slot = next();
    check(cudaMemcpyAsync(slot.pinned.data(), static_cast<const char*>(device) + done, part, cudaMemcpyDeviceToHost, machine_.stream()), "copying from the device");
    release(slot);
    if (coming) take();
    coming = &slot;
    first = done;
    size = part;
  }
  if (coming) take();
}

}  // namespace m2::cuda
