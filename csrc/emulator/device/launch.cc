#include "emulator/device/launch.h"

#include <algorithm>
#include <numeric>

#include "emulator/device/scheduler.h"
#include "emulator/device/workers.h"
#include "emulator/instructions.h"
#include "emulator/settings.h"

namespace m2::emulator {
namespace {

// Which groups run when: in order, or shuffled by the seed.
std::vector<size_t> group_order(const Launch& launch) {
  std::vector<size_t> order(launch.kernel->groups());
  std::iota(order.begin(), order.end(), 0);
  if (launch.order == Order::kForward) return order;
  Random random(mix(launch.seed) + launch.ordinal);
  for (size_t i = order.size(); i > 1; i--) std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

}  // namespace

void begin_launch(Launch& launch, const Kernel& kernel) {
  static uint64_t launches = 0;
  launch.kernel = &kernel;
  launch.seed = settings().seed;
  launch.ordinal = launches++;
  launch.order = static_cast<Order>(launch.seed % 4);
  launch.completion = static_cast<Completion>(launch.seed % 3);
}

bool run_launch(Launch& launch) {
  const std::vector<size_t> order = group_order(launch);
  std::atomic<size_t> next{0};
  const unsigned threads = static_cast<unsigned>(std::min<size_t>(settings().threads, order.size()));
  workers().run(threads, [&](Worker& worker) {
    for (size_t i; !launch.failed.load() && (i = next.fetch_add(1)) < order.size();) {
      Group& g = open_group(worker, launch, order[i]);
      run_group(g);
      close_group(g);
    }
  });
  return !launch.failed.load();
}

void wait_for_previous_kernel(Site) {}
void let_next_kernel_start(Site) {}

}  // namespace m2::emulator
