#include "emulator/device/workers.h"

#include <system_error>
#include <thread>

#include "emulator/device/fault.h"

namespace m2::emulator {

Workers& workers() {
  static Workers* all = new Workers;  // never destroyed: its threads sleep in it when the process ends
  return *all;
}

Worker& Workers::mine() {
  adopt_thread(mine_.context);
  catch_faults();
  return mine_;
}

void Workers::run(unsigned threads, const std::function<void(Worker&)>& task) {
  while (others_.size() + 1 < threads) {
    Worker& worker = *others_.emplace_back(std::make_unique<Worker>());
    try {
      std::thread([this, &worker] { work(worker); }).detach();
    } catch (const std::system_error&) {
      others_.pop_back();
      threads = static_cast<unsigned>(others_.size()) + 1;
    }
  }
  if (threads > 1) {
    const std::lock_guard lock(mutex_);
    task_ = &task;
    to_start_ = running_ = threads - 1;
    wake_.notify_all();
  }
  task(mine());
  std::unique_lock lock(mutex_);
  running_ -= to_start_;  // whoever has not woken up yet is not needed any more
  to_start_ = 0;
  done_.wait(lock, [this] { return running_ == 0; });
  task_ = nullptr;
}

void Workers::work(Worker& worker) {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return to_start_ > 0; });
    to_start_--;
    const std::function<void(Worker&)>* task = task_;
    lock.unlock();
    adopt_thread(worker.context);
    catch_faults();
    (*task)(worker);
    lock.lock();
    if (--running_ == 0) done_.notify_all();
  }
}

}  // namespace m2::emulator
