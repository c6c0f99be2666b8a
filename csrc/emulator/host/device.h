// The host's side of the emulated device: streams of queued work, events, what is captured, the error that sticks. Everything under one lock; work runs
// on the thread that needs its result.
#pragma once
#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "emulator/device/random.h"
#include "emulator/device/state.h"
#include "emulator/host/allocations.h"
#include "emulator/host/types.h"

namespace m2::emulator {

struct Stream;
struct Event;
struct Graph;
struct GraphExec;

// What a stream runs.
struct CopyWork {
  void* to;
  const void* from;
  size_t bytes;
  std::shared_ptr<std::vector<uint8_t>> staged;  // pageable source: its bytes when the call was made
  bool from_host, to_host;
};
struct FillWork {
  void* to;
  int value;
  size_t bytes;
};
struct HostWork {
  cudaHostFn_t function;
  void* data;
};
struct RecordWork {
  std::shared_ptr<Event> event;
  uint64_t ticket;
};
struct WaitWork {};  // only waits for what it comes after
struct KernelWork {
  std::shared_ptr<const Kernel> kernel;
};
struct GraphWork {
  std::shared_ptr<const GraphExec> exec;
};
using Work = std::variant<WaitWork, KernelWork, CopyWork, FillWork, HostWork, RecordWork, GraphWork>;

// Up to and including that piece of work of that stream.
struct After {
  std::shared_ptr<Stream> stream;
  uint64_t number;
};

struct Queued {
  Work work;
  uint64_t number;
  std::vector<After> after;
};

struct Stream {
  bool legacy = false, blocking = true;
  std::deque<Queued> queue;
  uint64_t issued = 0, done = 0;
  std::shared_ptr<struct Capture> capture;
  size_t captured_last = 0;  // 1 + the node of the capture that this stream's next one follows; 0: none
  std::vector<size_t> captured_after;
};

struct Event {
  bool timing = true;
  std::shared_ptr<Stream> stream;  // of the last record
  uint64_t number = 0;
  uint64_t recorded = 0, ran = 0;  // tickets
  std::chrono::steady_clock::time_point time{};
  std::shared_ptr<struct Capture> capture;
  size_t node = 0;
};

struct Node {
  Work work;
  std::vector<size_t> after;
};

struct Graph {
  std::vector<Node> nodes;
};
struct GraphExec {
  std::vector<Node> nodes;
};

struct Capture {
  Graph graph;
  Stream* origin = nullptr;
  cudaStreamCaptureMode mode{};
  bool invalid = false;
  std::vector<Stream*> joined;
};

class Device {
 public:
  std::recursive_mutex mutex;
  std::shared_ptr<Stream> legacy;
  std::unordered_map<Stream*, std::shared_ptr<Stream>> streams;
  std::unordered_map<Event*, std::shared_ptr<Event>> events;
  std::unordered_map<Graph*, std::shared_ptr<Graph>> graphs;
  std::unordered_map<GraphExec*, std::shared_ptr<GraphExec>> execs;
  std::unordered_map<const void*, int> granted_shared;  // by kernel
  std::string report;                       // of `reported`, in words
  cudaError_t reported = cudaSuccess;
  cudaError_t sticky = cudaSuccess;
  unsigned fail_in = 0;
  cudaError_t fail_with = cudaSuccess;
  int captures = 0;  // in progress
  Random random;

  Device();
  std::shared_ptr<Stream> stream(cudaStream_t handle);  // nullptr: not one of ours
  void enqueue(const std::shared_ptr<Stream>&, Work);
  // Runs work until so much of the stream is done; what went wrong.
  cudaError_t complete(const std::shared_ptr<Stream>&, uint64_t number);
  cudaError_t complete_all();
  // Records an error of the caller's in words.
  cudaError_t refuse(cudaError_t error, const std::string& why);
  void forget();

 private:
  cudaError_t run(Stream&);
};

Device& device();
bool sticks(cudaError_t error);
cudaError_t remember(cudaError_t error);  // for cudaGetLastError
// The call fails because somebody asked for it, or because of an error that sticks.
cudaError_t refused_before(Device&);

// A runtime call: locked, and refused where an error sticks.
template <class Body>
cudaError_t call(Body body) {
  Device& d = device();
  const std::lock_guard lock(d.mutex);
  if (const cudaError_t error = refused_before(d); error != cudaSuccess) return remember(error);
  return remember(body(d));
}

}  // namespace m2::emulator
