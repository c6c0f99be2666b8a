#include "cpu/ceilings.h"

#include <chrono>
#include <cstring>

#include "cpu/machine.h"
#include "cpu/memory.h"

namespace m2::cpu {
namespace {

constexpr int kPasses = 7;
constexpr int64_t kAlwaysShare = Pool::kWorthSharing;

// Units per second of body(task, worker), run once per task; the best pass.
template <class Body>
double best_rate(Pool& pool, int64_t tasks, double units, const Body& body) {
  double best = 0;
  for (int pass = 0; pass < kPasses; pass++) {
    const auto start = std::chrono::steady_clock::now();
    pool.run(tasks, kAlwaysShare, body);
    best = std::max(best, units / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

Machine machine(int threads) { return Machine(choose_kernels(), threads == 0 ? physical_cores() : threads); }

}  // namespace

double read_bandwidth(size_t bytes, int threads) {
  constexpr int64_t kPart = 1 << 20;
  Machine m = machine(threads);
  const int64_t parts = std::max<int64_t>(bytes / kPart, 1);
  const Buffer buffer = allocate(parts * kPart);
  std::memset(buffer.data(), 0, buffer.bytes());
  std::vector<uint32_t> seen(parts);
  return best_rate(m.pool, parts, static_cast<double>(buffer.bytes()), [&](int64_t part, int) {
    seen[part] = m.kernels.read(static_cast<const char*>(buffer.data()) + part * kPart, kPart);
  });
}

double arithmetic_peak(int threads) {
  constexpr int64_t kSteps = 1 << 18;
  Machine m = machine(threads);
  const int64_t tasks = 16 * m.pool.threads();
  const double operations = static_cast<double>(m.kernels.multiply(1, m.scratch(0)));
  return best_rate(m.pool, tasks, operations * kSteps * tasks, [&](int64_t, int worker) { m.kernels.multiply(kSteps, m.scratch(worker)); });
}

}  // namespace m2::cpu
