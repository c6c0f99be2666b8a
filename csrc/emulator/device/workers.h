// The host's threads that run groups of blocks. They and their fibers live until the process ends, asleep between launches.
#pragma once
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "emulator/device/state.h"

namespace m2::emulator {

class Workers {
 public:
  // task(worker) once on each of `threads` workers, the caller's first, which is used by one caller at a time.
  void run(unsigned threads, const std::function<void(Worker&)>& task);
  // The caller's own, with its context set to the calling thread.
  Worker& mine();

 private:
  void work(Worker& worker);

  Worker mine_;
  std::vector<std::unique_ptr<Worker>> others_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(Worker&)>* task_ = nullptr;
  unsigned to_start_ = 0, running_ = 0;
};

Workers& workers();

}  // namespace m2::emulator
