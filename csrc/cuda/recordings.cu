#include "cuda/recordings.h"

#include "cuda/check.h"

namespace m2::cuda {

void Recordings::run(uint64_t key, const std::function<void()>& ops) {
  if (scratch_ != machine_.scratch(0)) forget();  // it has grown since, and lies elsewhere
  Recording& recording = recordings_[key];
  if (recording.runs++ == 0) return ops();
  if (!recording.graph) recording.graph = record(ops);
  check(cudaGraphLaunch(recording.graph, machine_.stream()), "launching a recorded step");
}

cudaGraphExec_t Recordings::record(const std::function<void()>& ops) {
  cudaGraph_t graph = nullptr;
  check(cudaStreamBeginCapture(machine_.stream(), cudaStreamCaptureModeThreadLocal), "beginning to record a step");
  try {
    ops();
  } catch (...) {
    cudaStreamEndCapture(machine_.stream(), &graph);
    if (graph) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  check(cudaStreamEndCapture(machine_.stream(), &graph), "recording a step");
  cudaGraphExec_t instance = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&instance, graph, 0);
  cudaGraphDestroy(graph);
  check(status, "preparing a recorded step");
  return instance;
}

void Recordings::forget() {
  for (auto& [key, recording] : recordings_) {
    if (recording.graph) cudaGraphExecDestroy(recording.graph);
  }
  recordings_.clear();
  scratch_ = machine_.scratch(0);
}

}  // namespace m2::cuda
