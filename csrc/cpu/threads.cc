#include "cpu/threads.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include "core/error.h"

#ifdef __linux__
#include <sched.h>
#endif

namespace m2::cpu {
namespace {

constexpr auto kSpin = std::chrono::microseconds(50);

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

#ifdef __linux__
int read_int(const std::string& path) {
  int value = -1;
  std::ifstream(path) >> value;
  return value;
}

// Processors' worth of time that the control group grants, or a large number.
int granted_processors() {
  std::string quota;
  double period = 0;
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 1 << 20;
  return std::max(1, static_cast<int>(std::stod(quota) / period + 0.5));
}
#endif

}  // namespace

int physical_cores() {
#ifdef __linux__
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  std::set<std::pair<int, int>> cores;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
      if (!CPU_ISSET(cpu, &allowed)) continue;
      const std::string topology = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
      const int core = read_int(topology + "core_id");
      cores.insert(core < 0 ? std::pair(-1, cpu) : std::pair(read_int(topology + "physical_package_id"), core));
    }
  }
  if (!cores.empty()) return std::min(static_cast<int>(cores.size()), granted_processors());
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

Pool::Pool(int threads) {
  workers_.reserve(threads - 1);
  for (int worker = 1; worker < threads; worker++) {
    try {
      workers_.emplace_back([this, worker] { work(worker); });
    } catch (const std::system_error& error) {
      stop();
      fail("DEVICE_UNAVAILABLE", "cpu: could not start thread ", worker + 1, " of ", threads, ": ", error.what());
    }
  }
}

Pool::~Pool() { stop(); }

void Pool::stop() {
  stop_.store(true);
  loop_.fetch_add(1);
  loop_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Pool::share(int64_t tasks, Call call, const void* body) {
  expect(tasks < int64_t{1} << 32, "a loop of ", tasks, " tasks");
  if (tasks == 0) return;
  call_.store(call, std::memory_order_relaxed);
  body_.store(body, std::memory_order_relaxed);
  tasks_.store(tasks, std::memory_order_relaxed);
  done_.store(0, std::memory_order_relaxed);
  const uint64_t loop = (ticket_.load(std::memory_order_relaxed) >> 32) + 1;
  ticket_.store(loop << 32 | static_cast<uint64_t>(tasks), std::memory_order_release);
  loop_.fetch_add(1);
  loop_.notify_all();

  claim_tasks(0);
  for (int spins = 0; done_.load(std::memory_order_acquire) != tasks; spins++) {
    if (spins < 1000) relax();
    else std::this_thread::yield();  // whoever holds the last task may need this very processor
  }
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void Pool::claim_tasks(int worker) {
  for (;;) {
    uint64_t ticket = ticket_.load(std::memory_order_acquire);
    const int64_t left = static_cast<uint32_t>(ticket);
    if (left == 0) return;
    const Call call = call_.load(std::memory_order_relaxed);
    const void* body = body_.load(std::memory_order_relaxed);
    const int64_t tasks = tasks_.load(std::memory_order_relaxed);
    if (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel)) continue;
    try {
      call(body, tasks - left, worker);
    } catch (...) {
      const std::lock_guard lock(error_mutex_);
      if (!error_) error_ = std::current_exception();
    }
    done_.fetch_add(1, std::memory_order_release);
  }
}

void Pool::work(int worker) {
  int seen = 0;
  while (!stop_.load()) {
    const auto sleep_at = std::chrono::steady_clock::now() + kSpin;
    while (loop_.load() == seen && std::chrono::steady_clock::now() < sleep_at) {
      for (int i = 0; i < 16; i++) relax();
    }
    loop_.wait(seen);
    seen = loop_.load();
    claim_tasks(worker);
  }
}

}  // namespace m2::cpu
