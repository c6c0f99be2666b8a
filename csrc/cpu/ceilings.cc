#include "cpu/ceilings.h"

#include <chrono>
#include <cstring>

#include "cpu/cpu_backend.h"

namespace m2::cpu {
namespace {

constexpr int64_t kReadBytes = 1 << 20;       // of one task
constexpr int64_t kMultiplySteps = 1 << 20;   // of one task: milliseconds
constexpr int64_t kLongWork = 1'000'000'000;  // ns: worth all threads

// task(i) -> its amount of work
template <class Task>
Work timed(Pool& pool, int64_t tasks, const Task& task) {
  std::atomic<int64_t> amount{0};
  const auto begin = std::chrono::steady_clock::now();
  pool.run(tasks, kLongWork, [&](int64_t i, int) { amount += task(i); });
  const std::chrono::duration<double, std::micro> elapsed = std::chrono::steady_clock::now() - begin;
  return {static_cast<double>(amount), elapsed.count()};
}

}  // namespace

// The memory is the backend's own kind, in huge pages where it has them.
Ceilings::Ceilings(int threads, size_t bytes)
    : m_(choose_kernels(), threads == 0 ? physical_cores() : threads),
      data_(make_cpu_backend(1)->allocate((bytes + kReadBytes - 1) / kReadBytes * kReadBytes)) {
  std::memset(data_.data(), 1, data_.bytes());
}

Work Ceilings::read() {
  std::atomic<uint32_t> sum{0};  // keeps the reads
  return timed(m_.pool, static_cast<int64_t>(data_.bytes()) / kReadBytes, [&](int64_t i) {
    sum += m_.kernels.read(static_cast<const char*>(data_.data()) + i * kReadBytes, kReadBytes);
    return kReadBytes;
  });
}

Work Ceilings::multiply(int64_t (*loop)(int64_t, float*)) {
  return timed(m_.pool, 8 * m_.pool.threads(), [&](int64_t) {
    float sums[12 * kLanes] = {};
    return loop(kMultiplySteps, sums);
  });
}

Work Ceilings::multiply_f32() { return multiply(m_.kernels.multiply_f32); }
Work Ceilings::multiply_bf16() { return multiply(m_.kernels.multiply_bf16); }

}  // namespace m2::cpu
