// Streams, events and host functions.
#include "emulator/host/api.h"
#include "emulator/host/device.h"
#include "emulator/sites.h"

using namespace m2::emulator;

namespace {

// What a wait or a question about a stream that is being captured gets.
cudaError_t spoil(Device& d, Capture& capture, cudaError_t error, const char* what) {
  capture.invalid = true;
  return d.refuse(error, std::string(what) + " while a stream is captured");
}

}  // namespace

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return call([&](Device& d) {
    if (!stream || flags > cudaStreamNonBlocking) return cudaErrorInvalidValue;
    auto made = std::make_shared<Stream>();
    made->blocking = flags == cudaStreamDefault;
    *stream = d.streams.add(std::move(made));
    return cudaSuccess;
  });
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) { return cudaStreamCreateWithFlags(stream, flags); }

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return call([&](Device& d) {
    const auto s = d.streams.remove(stream);
    if (!s) return cudaErrorInvalidResourceHandle;
    if (s->capture) {
      s->capture->invalid = true;
      if (s->capture->origin == s.get()) d.end_capture(s->capture);
      s->capture = nullptr;
    }
    d.retire(s);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream, Site site) {
  return call([&](Device& d) {
    const auto s = d.stream(stream);
    if (!s) return cudaErrorInvalidResourceHandle;
    if (s->capture) return spoil(d, *s->capture, cudaErrorStreamCaptureUnsupported, "cudaStreamSynchronize");
    if (const cudaError_t error = d.forbid_legacy_in_capture(*s); error != cudaSuccess) return error;
    return skips("cudaStreamSynchronize", site) ? cudaSuccess : d.complete(end_of(s));
  });
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return call([&](Device& d) {
    const auto s = d.stream(stream);
    if (!s) return cudaErrorInvalidResourceHandle;
    if (s->capture) return spoil(d, *s->capture, cudaErrorStreamCaptureUnsupported, "cudaStreamQuery");
    if (const cudaError_t error = d.forbid_legacy_in_capture(*s); error != cudaSuccess) return error;
    if (d.passed_soon(end_of(s))) return cudaSuccess;
    return d.sticky != cudaSuccess ? d.sticky : cudaErrorNotReady;
  });
}

cudaError_t cudaDeviceSynchronize(Site site) {
  return call([&](Device& d) {
    for (const auto& capture : d.captures) capture->invalid = true;  // of any mode
    if (!d.captures.empty()) return d.refuse(cudaErrorStreamCaptureUnsupported, "cudaDeviceSynchronize during a capture");
    return skips("cudaDeviceSynchronize", site) ? cudaSuccess : d.complete_all();
  });
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  return call([&](Device& d) {
    const auto s = d.stream(stream);
    if (!s) return cudaErrorInvalidResourceHandle;
    if (!function) return cudaErrorInvalidValue;
    return d.enqueue(s, HostWork{function, data});
  });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return call([&](Device& d) {
    if (!event) return cudaErrorInvalidValue;
    auto made = std::make_shared<Event>();
    made->timing = !(flags & cudaEventDisableTiming);
    *event = d.events.add(std::move(made));
    return cudaSuccess;
  });
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return call([&](Device& d) { return d.events.remove(event) ? cudaSuccess : cudaErrorInvalidResourceHandle; });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream, Site site) {
  return call([&](Device& d) {
    const auto s = d.stream(stream);
    const auto e = d.events.find(event);
    if (!s || !e) return cudaErrorInvalidResourceHandle;
    if (skips("cudaEventRecord", site)) return cudaSuccess;
    e->capture = s->capture;
    if (s->capture) {
      if (s->capture->invalid) return cudaErrorStreamCaptureInvalidated;
      e->captured = s->captured;
      return cudaSuccess;
    }
    e->recorded++;
    const cudaError_t error = d.enqueue(s, RecordWork{e});
    e->point = end_of(s);
    return error;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned, Site site) {
  return call([&](Device& d) {
    const auto s = d.stream(stream);
    const auto e = d.events.find(event);
    if (!s || !e) return cudaErrorInvalidResourceHandle;
    if (skips("cudaStreamWaitEvent", site)) return cudaSuccess;
    if (!e->capture) {
      if (!s->capture) return e->recorded ? d.enqueue(s, WaitWork{}, {e->point}) : cudaSuccess;
      s->capture->invalid = true;
      return d.refuse(cudaErrorStreamCaptureIsolation, "a captured stream waits for an event of work that is not captured");
    }
    if (e->capture->streams.empty()) {
      if (s->capture) s->capture->invalid = true;
      return d.refuse(cudaErrorCapturedEvent, "a stream waits for an event of a capture that is over");
    }
    if (s->capture && s->capture != e->capture) {
      s->capture->invalid = e->capture->invalid = true;
      return d.refuse(cudaErrorStreamCaptureMerge, "two captures would become one");
    }
    if (s->legacy) return spoil(d, *e->capture, cudaErrorStreamCaptureImplicit, "cudaStreamWaitEvent by the legacy stream, of captured work,");
    if (!s->capture) {  // a fork
      s->capture = e->capture;
      s->captured.clear();
      s->capture->streams.push_back(s);
    }
    s->captured.insert(s->captured.end(), e->captured.begin(), e->captured.end());
    return cudaSuccess;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event, Site site) {
  return call([&](Device& d) {
    const auto e = d.events.find(event);
    if (!e) return cudaErrorInvalidResourceHandle;
    if (e->capture) return spoil(d, *e->capture, cudaErrorCapturedEvent, "cudaEventSynchronize");
    return skips("cudaEventSynchronize", site) ? cudaSuccess : d.complete(e->point);
  });
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  return call([&](Device& d) {
    const auto e = d.events.find(event);
    if (!e) return cudaErrorInvalidResourceHandle;
    if (e->capture) return spoil(d, *e->capture, cudaErrorCapturedEvent, "cudaEventQuery");
    if (d.passed_soon(e->point)) return cudaSuccess;
    return d.sticky != cudaSuccess ? d.sticky : cudaErrorNotReady;
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  return call([&](Device& d) {
    const auto from = d.events.find(start), to = d.events.find(end);
    if (!from || !to || !from->timing || !to->timing || !from->recorded || !to->recorded) return cudaErrorInvalidResourceHandle;
    if (from->capture || to->capture) return cudaErrorCapturedEvent;
    if (!from->point.passed() || !to->point.passed()) return cudaErrorNotReady;
    *milliseconds = std::chrono::duration<float, std::milli>(to->time - from->time).count();
    return cudaSuccess;
  });
}
