// bar.sync, bar.arrive and reductions: 16 barriers a block. A count of 0 means every thread of the block that has not ended.
#include "emulator/device/scheduler.h"
#include "emulator/instructions.h"
#include "emulator/sites.h"

namespace m2::emulator {
namespace {

void release_if_full(Block& block, int id) {
  Barrier& b = block.barriers[id];
  if (b.arrived == 0) return;
  const int needed = b.expected ? b.expected : static_cast<int>(block.alive);
  if (b.arrived > needed) fail("barrier %d: %d arrivals for %d threads", id, b.arrived, needed);
  if (b.arrived < needed) return;
  for (Thread* t : b.waiting) make_ready(*t);
  b.waiting.clear();
  b.last_sum = b.sum;
  b.last_arrived = b.arrived;
  b.arrived = b.expected = b.sum = 0;
}

Barrier& arrive(int id, int threads, Site site) {
  if (id < 0 || id > 15) fail("barrier id %d (%s:%u)", id, site.file, site.line);
  if (threads % 32 != 0 || threads < 0) fail("barrier %d: %d threads, which are no whole warps (%s:%u)", id, threads, site.file, site.line);
  Barrier& b = self->block->barriers[id];
  if (b.arrived && b.expected != threads) {
    fail("barrier %d: %d threads here (%s:%u), %d by an earlier arrival", id, threads, site.file, site.line, b.expected);
  }
  b.expected = threads;
  b.arrived++;
  return b;
}

}  // namespace

void barriers_after_end(Block& block) {
  for (int id = 0; id < 16; id++) release_if_full(block, id);
}

namespace {

void meet(int id, int threads, bool predicate, Site site) {
  Barrier& b = arrive(id, threads, site);
  b.sum += predicate;
  b.waiting.push_back(self);
  release_if_full(*self->block, id);
  wait_until_ready("barrier", static_cast<uint64_t>(id), site);
}

}  // namespace

void barrier_sync(int id, int threads, Site site) {
  if (!skips("bar.sync", site)) meet(id, threads, false, site);
}

void barrier_arrive(int id, int threads, Site site) {
  if (skips("bar.arrive", site)) return;
  arrive(id, threads, site);
  release_if_full(*self->block, id);
  preempt();
}

// The result is read before the barrier can be full again, since this thread has to come for that.
int barrier_reduce(BarrierReduction kind, bool predicate, Site site) {
  meet(0, 0, predicate, site);
  const Barrier& b = self->block->barriers[0];
  switch (kind) {
    case BarrierReduction::kCount: return b.last_sum;
    case BarrierReduction::kAnd: return b.last_sum == b.last_arrived;
    case BarrierReduction::kOr: return b.last_sum != 0;
  }
  return 0;
}

}  // namespace m2::emulator
