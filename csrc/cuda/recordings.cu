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

double Recordings::time(int repeats, const std::function<void()>& ops) {
  ops();
  const cudaGraphExec_t graph = record(ops);
  cudaEvent_t begin = nullptr, end = nullptr;
  float milliseconds = 0;
  cudaError_t status = cudaEventCreate(&begin);
  const auto go_on = [&](cudaError_t next) { status = status == cudaSuccess ? next : status; };
  go_on(cudaEventCreate(&end));
  go_on(cudaGraphLaunch(graph, machine_.stream()));  // warm
  go_on(cudaEventRecord(begin, machine_.stream()));
  go_on(cudaGraphLaunch(graph, machine_.stream()));
  go_on(cudaEventRecord(end, machine_.stream()));
  go_on(cudaEventSynchronize(end));
  go_on(cudaEventElapsedTime(&milliseconds, begin, end));
  cudaGraphExecDestroy(graph);
  if (begin) cudaEventDestroy(begin);
  if (end) cudaEventDestroy(end);
  check(status, "timing");
  return 1000.0 * milliseconds / repeats;
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
