// Stream capture and graphs.
#include "emulator/host/api.h"
#include "emulator/host/device.h"

using namespace m2::emulator;

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return call([&](Device& d) {
    const auto s = d.stream(stream);
    if (!s) return cudaErrorInvalidResourceHandle;
    if (s->legacy) return cudaErrorStreamCaptureUnsupported;
    if (s->capture) return cudaErrorIllegalState;
    s->capture = std::make_shared<Capture>();
    s->capture->origin = s.get();
    s->capture->mode = mode;
    d.captures++;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return call([&](Device& d) {
    const auto s = d.stream(stream);
    if (!s) return cudaErrorInvalidResourceHandle;
    *graph = nullptr;
    if (!s->capture) return cudaErrorIllegalState;
    const auto capture = std::exchange(s->capture, nullptr);
    d.captures--;
    if (capture->invalid) return cudaErrorStreamCaptureInvalidated;
    auto made = std::make_shared<Graph>(std::move(capture->graph));
    *graph = reinterpret_cast<cudaGraph_t>(made.get());
    d.graphs[made.get()] = made;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  return call([&](Device& d) {
    const auto s = d.stream(stream);
    if (!s) return cudaErrorInvalidResourceHandle;
    *status = !s->capture ? cudaStreamCaptureStatusNone : s->capture->invalid ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
    return cudaSuccess;
  });
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count) {
  return call([&](Device& d) {
    const auto found = d.graphs.find(reinterpret_cast<Graph*>(graph));
    if (found == d.graphs.end()) return cudaErrorInvalidValue;
    *count = found->second->nodes.size();
    return cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  return call([&](Device& d) {
    const auto found = d.graphs.find(reinterpret_cast<Graph*>(graph));
    if (found == d.graphs.end()) return cudaErrorInvalidValue;
    auto made = std::make_shared<GraphExec>(GraphExec{found->second->nodes});
    *exec = reinterpret_cast<cudaGraphExec_t>(made.get());
    d.execs[made.get()] = made;
    return cudaSuccess;
  });
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream) {
  return call([&](Device& d) {
    return d.execs.contains(reinterpret_cast<GraphExec*>(exec)) && d.stream(stream) ? cudaSuccess : cudaErrorInvalidValue;
  });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream, Site) {
  return call([&](Device& d) {
    const auto found = d.execs.find(reinterpret_cast<GraphExec*>(exec));
    const auto s = d.stream(stream);
    if (found == d.execs.end() || !s) return cudaErrorInvalidValue;
    d.enqueue(s, GraphWork{found->second});
    return d.sticky;
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  return call([&](Device& d) { return d.execs.erase(reinterpret_cast<GraphExec*>(exec)) ? cudaSuccess : cudaErrorInvalidValue; });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return call([&](Device& d) { return d.graphs.erase(reinterpret_cast<Graph*>(graph)) ? cudaSuccess : cudaErrorInvalidValue; });
}
