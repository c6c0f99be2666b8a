// Streams, events and host functions.
#include "emulator/host/api.h"
#include "emulator/host/device.h"

using namespace m2::emulator;

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return call([&](Device& d) {
    if (flags > cudaStreamNonBlocking) return cudaErrorInvalidValue;
    auto made = std::make_shared<Stream>();
    made->blocking = flags == cudaStreamDefault;
    *stream = reinterpret_cast<cudaStream_t>(made.get());
    d.streams[made.get()] = made;
    return cudaSuccess;
  });
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) { return cudaStreamCreateWithFlags(stream, flags); }

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return call([&](Device& d) { return d.streams.erase(reinterpret_cast<Stream*>(stream)) ? cudaSuccess : cudaErrorInvalidResourceHandle; });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream, Site) {
  return call([&](Device& d) {
    const auto s = d.stream(stream);
    return s ? d.complete(s, s->issued) : cudaErrorInvalidResourceHandle;
  });
}
cudaError_t cudaDeviceSynchronize(Site) {
  return call([&](Device& d) { return d.complete_all(); });
}
cudaError_t cudaDeviceReset() { return cudaDeviceSynchronize(); }
cudaError_t cudaStreamQuery(cudaStream_t stream) { return cudaStreamSynchronize(stream); }

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  return call([&](Device& d) {
    const auto s = d.stream(stream);
    if (!s) return cudaErrorInvalidResourceHandle;
    d.enqueue(s, HostWork{function, data});
    return d.sticky;
  });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return call([&](Device& d) {
    auto made = std::make_shared<Event>();
    made->timing = !(flags & cudaEventDisableTiming);
    *event = reinterpret_cast<cudaEvent_t>(made.get());
    d.events[made.get()] = made;
    return cudaSuccess;
  });
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return call([&](Device& d) { return d.events.erase(reinterpret_cast<Event*>(event)) ? cudaSuccess : cudaErrorInvalidResourceHandle; });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return call([&](Device& d) {
    const auto s = d.stream(stream);
    const auto e = d.events.find(reinterpret_cast<Event*>(event));
    if (!s || e == d.events.end()) return cudaErrorInvalidResourceHandle;
    d.enqueue(s, RecordWork{e->second, ++e->second->recorded});
    return d.sticky;
  });
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t, unsigned, Site) {
  return call([&](Device& d) { return d.stream(stream) ? cudaSuccess : cudaErrorInvalidResourceHandle; });
}
cudaError_t cudaEventSynchronize(cudaEvent_t event, Site) {
  return call([&](Device& d) { return d.events.contains(reinterpret_cast<Event*>(event)) ? cudaSuccess : cudaErrorInvalidResourceHandle; });
}
cudaError_t cudaEventQuery(cudaEvent_t event) { return cudaEventSynchronize(event); }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  return call([&](Device& d) {
    const auto from = d.events.find(reinterpret_cast<Event*>(start)), to = d.events.find(reinterpret_cast<Event*>(end));
    if (from == d.events.end() || to == d.events.end()) return cudaErrorInvalidResourceHandle;
    *milliseconds = std::chrono::duration<float, std::milli>(to->second->time - from->second->time).count();
    return cudaSuccess;
  });
}
