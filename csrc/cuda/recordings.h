// Ops recorded as CUDA graphs, by key. The first call with a key runs the ops, so that whatever a first launch prepares is prepared; the second records
// them; later ones replay.
#pragma once
#include <functional>
#include <map>

#include "cuda/handles.h"
#include "cuda/machine.h"

namespace m2::cuda {

class Recordings {
 public:
  explicit Recordings(Machine& machine) : machine_(machine) {}

  void run(uint64_t key, const std::function<void()>& ops);
  // Microseconds of the device for each of the `repeats` that `ops` holds: run once, then recorded and replayed between two events.
  double time(int repeats, const std::function<void()>& ops);

 private:
  struct Recording {
    int64_t runs = 0;
    ExecutableGraph graph;
  };
  ExecutableGraph record(const std::function<void()>& ops);

  Machine& machine_;
  std::map<uint64_t, Recording> recordings_;
  const void* scratch_ = nullptr;  // what recorded ops work in
};

}  // namespace m2::cuda
