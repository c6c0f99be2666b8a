#include "cuda/recordings.h"

#include <utility>

#include "cuda/check.h"

namespace m2::cuda {

void Recordings::run(uint64_t key, const std::function<void()>& ops) {
  if (scratch_ != machine_.scratch(0)) {  // it has grown since, and lies elsewhere
    recordings_.clear();
    scratch_ = machine_.scratch(0);
  }
  Recording& recording = recordings_[key];
  if (recording.runs++ == 0) return ops();
  if (!recording.graph) recording.graph = record(ops);
  check(cudaGraphLaunch(recording.graph.get(), machine_.stream()), "launching a recorded step");
}

double Recordings::time(int repeats, const std::function<void()>& ops) {
  ops();
  const ExecutableGraph graph = record(ops);
  const Event begin(cudaEventDefault), end(cudaEventDefault);
  float milliseconds = 0;
  check(cudaGraphLaunch(graph.get(), machine_.stream()), "launching what was recorded");  // warm
  check(cudaEventRecord(begin, machine_.stream()), "recording an event");
  check(cudaGraphLaunch(graph.get(), machine_.stream()), "launching what was recorded");
  check(cudaEventRecord(end, machine_.stream()), "recording an event");
  check(cudaEventSynchronize(end), "waiting for what was recorded");
  check(cudaEventElapsedTime(&milliseconds, begin, end), "timing");
  return 1000.0 * milliseconds / repeats;
}

ExecutableGraph Recordings::record(const std::function<void()>& ops) {
  check(cudaStreamBeginCapture(machine_.stream(), cudaStreamCaptureModeThreadLocal), "beginning to record a step");
  const auto end = [this] {
    cudaGraph_t graph = nullptr;
    const cudaError_t status = cudaStreamEndCapture(machine_.stream(), &graph);
    return std::pair(Graph(graph), status);
  };
  try {
    ops();
  } catch (...) {
    end();
    cudaGetLastError();
    throw;
  }
  const auto [graph, status] = end();
  check(status, "recording a step");
  cudaGraphExec_t instance = nullptr;
  check(cudaGraphInstantiate(&instance, graph.get(), 0), "preparing a recorded step");
  return ExecutableGraph(instance);
}

}  // namespace m2::cuda
