// A pool of threads for loops over independent tasks. The caller works too; the others spin for a moment after a loop, since the next op follows
// within microseconds, and then sleep. Nobody waits for a thread to wake up: tasks are claimed one by one, and a loop ends when the last is done.
#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace m2::cpu {

// Distinct cores among the processors that this process may use, at most the container's share of processor time; at least 1.
int physical_cores();

class Pool {
 public:
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Below this much work (estimated nanoseconds on one core) waking others costs more than it brings.
  static constexpr int64_t kWorthSharing = 20000;
  // How many threads a loop of so much work gets.
  int useful_threads(int64_t work_ns) const { return work_ns < kWorthSharing ? 1 : threads(); }

  // body(task, worker) once for every task in 0..tasks-1, worker in 0..threads()-1 (0: the caller), no two at once with the same worker. Returns when
  // all are done; the first exception thrown by a body is rethrown here. One loop at a time, and a body starts none.
  template <class Body>
  void run(int64_t tasks, int64_t work_ns, const Body& body) {
    if (tasks == 1 || useful_threads(work_ns) == 1) {
      for (int64_t task = 0; task < tasks; task++) body(task, 0);
    } else {
      share(tasks, [](const void* b, int64_t task, int worker) { (*static_cast<const Body*>(b))(task, worker); }, &body);
    }
  }

 private:
  using Call = void (*)(const void* body, int64_t task, int worker);

  void share(int64_t tasks, Call call, const void* body);
  void claim_tasks(int worker);
  void work(int worker);
  void stop();

  // One loop. The ticket is its number << 32 | tasks not yet claimed: a claim that succeeds proves that call, body and tasks, read before it, are that
  // loop's own, since they change only when nothing is left to claim.
  alignas(64) std::atomic<uint64_t> ticket_{0};
  std::atomic<Call> call_{nullptr};
  std::atomic<const void*> body_{nullptr};
  std::atomic<int64_t> tasks_{0};
  alignas(64) std::atomic<int64_t> done_{0};
  alignas(64) std::atomic<int> loop_{0};  // changes when there is something new; idle workers sleep on it
  std::atomic<bool> stop_{false};
  std::mutex error_mutex_;
  std::exception_ptr error_;
  std::vector<std::thread> workers_;
};

}  // namespace m2::cpu
