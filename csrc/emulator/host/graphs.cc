// Stream capture and graphs. What is captured holds copies of the kernels' arguments; an instance holds copies of the graph's work, so that neither
// hangs on the other.
#include <algorithm>
#include <utility>

#include "emulator/host/api.h"
#include "emulator/host/device.h"

namespace m2::emulator {

cudaError_t Device::forbid_in_capture(const char* what) {
  for (const auto& capture : captures) {
    if (capture->mode == cudaStreamCaptureModeRelaxed) continue;
    if (capture->mode == cudaStreamCaptureModeThreadLocal && capture->thread != std::this_thread::get_id()) continue;
    capture->invalid = true;
    return refuse(cudaErrorStreamCaptureUnsupported, std::string(what) + " during a capture");
  }
  return cudaSuccess;
}

cudaError_t Device::forbid_legacy_in_capture(const Stream& s) {
  if (!s.legacy) return cudaSuccess;
  for (const auto& capture : captures) {
    if (std::none_of(capture->streams.begin(), capture->streams.end(), [](const auto& captured) { return captured->blocking; })) continue;
    capture->invalid = true;
    return refuse(cudaErrorStreamCaptureImplicit, "the legacy stream is used while a blocking stream is captured");
  }
  return cudaSuccess;
}

namespace {

// Whether `node` is among what the nodes of `from` come after, or one of them.
bool reaches(const Graph& graph, std::vector<size_t> from, size_t node) {
  std::vector<bool> seen(graph.nodes.size());
  while (!from.empty()) {
    const size_t at = from.back();
    from.pop_back();
    if (at == node) return true;
    if (seen[at]) continue;
    seen[at] = true;
    from.insert(from.end(), graph.nodes[at].after.begin(), graph.nodes[at].after.end());
  }
  return false;
}

bool is_joined(const Capture& capture) {
  return std::all_of(capture.streams.begin(), capture.streams.end(), [&](const auto& s) {
    return s.get() == capture.origin ||
           std::all_of(s->captured.begin(), s->captured.end(), [&](size_t node) { return reaches(capture.graph, capture.origin->captured, node); });
  });
}

}  // namespace

void Device::end_capture(const std::shared_ptr<Capture> capture) {
  for (const auto& s : std::exchange(capture->streams, {})) s->capture = nullptr;
  std::erase(captures, capture);
}

}  // namespace m2::emulator

using namespace m2::emulator;

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return call([&](Device& d) {
    const auto s = d.stream(stream);
    if (!s) return cudaErrorInvalidResourceHandle;
    if (s->legacy) return d.refuse(cudaErrorStreamCaptureUnsupported, "the legacy stream cannot be captured");
    if (s->capture) return cudaErrorIllegalState;
    auto capture = std::make_shared<Capture>();
    capture->origin = s.get();
    capture->mode = mode;
    capture->thread = std::this_thread::get_id();
    capture->streams.push_back(s);
    s->capture = capture;
    s->captured.clear();
    d.captures.push_back(std::move(capture));
    return cudaSuccess;
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  Device& d = device();
  const std::lock_guard lock(d.mutex);
  *graph = nullptr;
  if (const cudaError_t error = refused_before(d); error != cudaSuccess) {  // whatever fails, the capture is over
    if (const auto s = d.stream(stream); s && s->capture) d.end_capture(s->capture);
    return remember(error);
  }
  const auto end = [&]() -> cudaError_t {
    const auto s = d.stream(stream);
    if (!s) return cudaErrorInvalidResourceHandle;
    const std::shared_ptr<Capture> capture = s->capture;
    if (!capture) return cudaErrorIllegalState;
    if (capture->origin != s.get()) return capture->invalid = true, cudaErrorStreamCaptureUnmatched;
    if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id()) return cudaErrorStreamCaptureWrongThread;
    const bool joined = is_joined(*capture);
    d.end_capture(capture);
    if (capture->invalid) return cudaErrorStreamCaptureInvalidated;
    if (!joined) return d.refuse(cudaErrorStreamCaptureUnjoined, "a stream that was forked from the captured one was not joined again");
    *graph = d.graphs.add(std::make_shared<Graph>(std::move(capture->graph)));
    return cudaSuccess;
  };
  return remember(end());
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  return call([&](Device& d) {
    const auto s = d.stream(stream);
    if (!s) return cudaErrorInvalidResourceHandle;
    *status = !s->capture ? cudaStreamCaptureStatusNone : s->capture->invalid ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
    return cudaSuccess;
  });
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
  return call([&](Device& d) {
    const auto g = d.graphs.find(graph);
    if (!g || nodes) return cudaErrorInvalidValue;  // only their number
    *count = g->nodes.size();
    return cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  return call([&](Device& d) {
    const auto g = d.graphs.find(graph);
    if (!g) return cudaErrorInvalidValue;
    *exec = d.execs.add(std::make_shared<GraphExec>(GraphExec{g->nodes}));
    return cudaSuccess;
  });
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream) {
  return call([&](Device& d) { return d.execs.find(exec) && d.stream(stream) ? cudaSuccess : cudaErrorInvalidValue; });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream, Site) {
  return call([&](Device& d) {
    const auto e = d.execs.find(exec);
    const auto s = d.stream(stream);
    if (!e || !s) return cudaErrorInvalidValue;
    return d.enqueue(s, GraphWork{e});
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  return call([&](Device& d) { return d.execs.remove(exec) ? cudaSuccess : cudaErrorInvalidValue; });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return call([&](Device& d) { return d.graphs.remove(graph) ? cudaSuccess : cudaErrorInvalidValue; });
}
