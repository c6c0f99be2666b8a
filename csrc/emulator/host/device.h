// The host's side of the emulated device. Everything is under one lock; work runs on the thread that needs its result.
#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "emulator/device/random.h"
#include "emulator/host/allocations.h"
#include "emulator/host/types.h"
#include "emulator/host/work.h"

namespace m2::emulator {

// Handles of one kind: addresses of objects, looked up before they are used.
template <class T, class Handle>
class Handles {
 public:
  Handle add(std::shared_ptr<T> object) {
    T* address = object.get();
    live_[address] = std::move(object);
    return reinterpret_cast<Handle>(address);
  }
  std::shared_ptr<T> find(Handle handle) const {  // nullptr: none of ours
    const auto found = live_.find(reinterpret_cast<T*>(handle));
    return found == live_.end() ? nullptr : found->second;
  }
  std::shared_ptr<T> remove(Handle handle) {
    std::shared_ptr<T> object = find(handle);
    if (object) live_.erase(object.get());
    return object;
  }
  const auto& all() const { return live_; }
  void clear() { live_.clear(); }

 private:
  std::unordered_map<T*, std::shared_ptr<T>> live_;
};

struct Capture {
  Graph graph;
  Stream* origin = nullptr;
  cudaStreamCaptureMode mode{};
  std::thread::id thread;
  bool invalid = false;
  std::vector<std::shared_ptr<Stream>> streams;  // origin and those that were forked from it; none: it is over
};

class Device {
 public:
  std::recursive_mutex mutex;
  Handles<Stream, cudaStream_t> streams;
  Handles<Event, cudaEvent_t> events;
  Handles<Graph, cudaGraph_t> graphs;
  Handles<GraphExec, cudaGraphExec_t> execs;
  std::unordered_map<const void*, int> granted_shared;  // by kernel: dynamic shared memory
  std::vector<std::shared_ptr<Capture>> captures;       // in progress

  // The error that every call returns from now on; the report of the last error, and which that was.
  cudaError_t sticky = cudaSuccess, reported = cudaSuccess;
  std::string report;
  // Failures that were asked for.
  unsigned fail_in = 0;
  cudaError_t fail_with = cudaSuccess;

  Device();
  std::shared_ptr<Stream> stream(cudaStream_t handle) const;  // nullptr: none of ours
  std::shared_ptr<Stream> legacy() const { return legacy_; }
  void retire(const std::shared_ptr<Stream>&);  // its handle is gone, its work is not

  // To the end of the stream's queue, or of what is captured from it.
  cudaError_t enqueue(const std::shared_ptr<Stream>&, Work, std::vector<Point> after = {});
  // Runs work until the point is passed.
  cudaError_t complete(const Point&);
  cudaError_t complete_all();
  // Whether it is passed; if not, work goes on a little.
  bool passed_soon(const Point&);
  // An error of the caller's, or of a kernel's, in words.
  cudaError_t refuse(cudaError_t error, const std::string& why);
  cudaError_t refuse_for_good(cudaError_t error, const std::string& why);
  // Calls that may not be made during a capture by this thread; the capture is spoilt then.
  cudaError_t forbid_in_capture(const char* what);
  // The legacy stream may not be used while a blocking stream is captured.
  cudaError_t forbid_legacy_in_capture(const Stream&);
  void end_capture(std::shared_ptr<Capture>);  // by value: the streams' pointers to it go
  // Whether queued work will read or write the bytes of host memory, or runs code of the host's.
  bool uses_host_memory(const void* data, size_t bytes, bool writes) const;
  void forget();

 private:
  std::vector<std::shared_ptr<Stream>> all_streams() const;
  std::vector<std::shared_ptr<Stream>> busy() const;  // those that have work
  void run_a_step_towards(const Point&);
  void run_head(Stream&);
  void run_by_chance();

  std::shared_ptr<Stream> legacy_;
  std::vector<std::shared_ptr<Stream>> retired_;  // since the device was waited for; the trace knows from them what they have done
  Random random_;
};

Device& device();
bool sticks(cudaError_t error);
cudaError_t remember(cudaError_t error);  // for cudaGetLastError
// Why a call fails before it is looked at: an error that sticks, one that was asked for, a host function that calls.
cudaError_t refused_before(Device&);

// A runtime call: locked, and refused where an error sticks.
template <class Body>
cudaError_t call(Body body) {
  Device& d = device();
  const std::lock_guard lock(d.mutex);
  if (const cudaError_t error = refused_before(d); error != cudaSuccess) return remember(error);
  return remember(body(d));
}

// run.cc: a piece of work; consecutive kernels of a stream or a graph as a chain.
struct HostFunctionScope {
  HostFunctionScope();
  ~HostFunctionScope();
};
struct KernelRun {
  std::shared_ptr<const Kernel> kernel;
  Ticket ticket;
};
cudaError_t run_work(Device&, const Work&, const Ticket&);
cudaError_t run_kernels(Device&, const std::vector<KernelRun>&);
uint64_t hash_bytes(const void* data, size_t bytes);

}  // namespace m2::emulator
