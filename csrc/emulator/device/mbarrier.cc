// mbarriers. A phase is over when as many have arrived as were expected and all announced bytes have come. The state is kept beside the shared memory,
// where eight known bytes stand in its place, so that overwriting is noticed.
#include "emulator/device/mbarrier.h"

#include <algorithm>
#include <cstring>

#include "emulator/device/memory.h"
#include "emulator/device/scheduler.h"
#include "emulator/instructions.h"
#include "emulator/sites.h"

namespace m2::emulator {
namespace {

constexpr uint64_t kMark = 0x5245495252414231ull;
constexpr int64_t kMostBytes = (1 << 20) - 1;
constexpr uint32_t kMostArrivals = (1 << 20) - 1;

Block& block_of(uint32_t address) { return *group().blocks[self->block->first_of_cluster + address / kSharedRank]; }

void end_phase_if_over(MBarrier& b) {
  if (b.pending != 0 || b.bytes != 0) return;
  b.phase ^= 1;
  b.pending = b.expected;
  size_t kept = 0;
  for (const MBarrier::Waiter& w : b.waiting) {
    if (b.phase != w.phase) make_ready(*w.thread);
    else b.waiting[kept++] = w;
  }
  b.waiting.resize(kept);
}

void announce_bytes(MBarrier& b, int64_t bytes, const char* what) {
  b.bytes += bytes;
  if (b.bytes > kMostBytes || b.bytes < -kMostBytes) fail("%s: the mbarrier's transaction count becomes %lld", what, static_cast<long long>(b.bytes));
}

}  // namespace

MBarrier* find_mbarrier(Block& block, uint32_t offset) {
  const auto found = std::find_if(block.mbarriers.begin(), block.mbarriers.end(), [offset](const MBarrier& b) { return b.offset == offset; });
  return found == block.mbarriers.end() ? nullptr : &*found;
}

MBarrierAt mbarrier_at(uint32_t address, const char* what) {
  const uint8_t* place = shared_bytes(address, 8, 8, what);
  Block& block = block_of(address);
  MBarrier* b = find_mbarrier(block, address % kSharedRank);
  if (!b) fail("%s: no mbarrier was initialised at shared address %08x", what, address);
  uint64_t mark;
  std::memcpy(&mark, place, 8);
  if (mark != kMark) fail("%s: the mbarrier at shared address %08x has been overwritten", what, address);
  if (&block != self->block && !b->announced) fail("%s: the mbarrier of another block at %08x, whose initialisation was not followed by fence.mbarrier_init", what, address);
  return {&block, b};
}

MBarrierAt announced_mbarrier_at(uint32_t address, const char* what) {
  const MBarrierAt at = mbarrier_at(address, what);
  if (!at.barrier->announced) fail("%s: the mbarrier at shared address %08x, whose initialisation was not followed by fence.mbarrier_init", what, address);
  return at;
}

void mbarrier_arrived(Block&, MBarrier& b, int count, const char* what) {
  if (count > b.pending) fail("%s: more arrivals than the mbarrier's count of %d in one phase (shared offset %x)", what, b.expected, b.offset);
  b.pending -= count;
  end_phase_if_over(b);
}

void mbarrier_bytes_arrived(Block& block, uint32_t offset, int64_t bytes) {
  MBarrier* b = find_mbarrier(block, offset);
  if (!b) fail("a bulk copy is complete, and the mbarrier at shared offset %x is gone", offset);
  announce_bytes(*b, -bytes, "a bulk copy");
  end_phase_if_over(*b);
}

void announce_mbarriers(Block& block, const Thread* initialised_by) {
  for (MBarrier& b : block.mbarriers) {
    if (!initialised_by || b.initialised_by == initialised_by) b.announced = true;
  }
}

void mbarrier_init(uint32_t address, uint32_t count) {
  if (count == 0 || count > kMostArrivals) fail("mbarrier.init: a count of %u", count);
  if (address / kSharedRank != self->block->rank) fail("mbarrier.init: the mbarrier of another block");
  uint8_t* place = shared_bytes(address, 8, 8, "mbarrier.init");
  Block& block = *self->block;
  if (find_mbarrier(block, address % kSharedRank)) fail("mbarrier.init: there is an mbarrier at shared address %08x, and it was not invalidated", address);
  std::memcpy(place, &kMark, 8);
  block.mbarriers.push_back({address % kSharedRank, static_cast<int>(count), static_cast<int>(count), 0, 0, self, false, {}});
}

void mbarrier_invalidate(uint32_t address) {
  const MBarrierAt at = mbarrier_at(address, "mbarrier.inval");
  if (!at.barrier->waiting.empty()) fail("mbarrier.inval: threads wait for the mbarrier at shared address %08x", address);
  std::memset(shared_bytes(address, 8, 8, "mbarrier.inval"), 0xff, 8);
  at.block->mbarriers.erase(at.block->mbarriers.begin() + (at.barrier - at.block->mbarriers.data()));
}

void mbarrier_arrive(uint32_t address, uint32_t count, Site site) {
  if (skips("mbarrier.arrive", site)) return;
  const MBarrierAt at = mbarrier_at(address, "mbarrier.arrive");
  mbarrier_arrived(*at.block, *at.barrier, static_cast<int>(count), "mbarrier.arrive");
  preempt();
}

void mbarrier_expect_bytes(uint32_t address, uint32_t bytes, Site site) {
  if (skips("mbarrier.expect_tx", site)) return;
  announce_bytes(*mbarrier_at(address, "mbarrier.expect_tx").barrier, bytes, "mbarrier.expect_tx");
}

void mbarrier_arrive_expect_bytes(uint32_t address, uint32_t bytes, Site site) {
  if (skips("mbarrier.arrive.expect_tx", site)) return;
  const MBarrierAt at = mbarrier_at(address, "mbarrier.arrive.expect_tx");
  announce_bytes(*at.barrier, bytes, "mbarrier.arrive.expect_tx");
  mbarrier_arrived(*at.block, *at.barrier, 1, "mbarrier.arrive.expect_tx");
  preempt();
}

bool mbarrier_test(uint32_t address, unsigned parity, Site site) {
  if (skips("mbarrier.try_wait", site)) return true;
  if (mbarrier_at(address, "mbarrier.try_wait").barrier->phase != (parity & 1)) return true;
  poll("mbarrier.try_wait", static_cast<uint64_t>(parity & 1) << 32 | address, site);
  return false;
}

void mbarrier_wait(uint32_t address, unsigned parity, Site site) {
  if (skips("mbarrier.try_wait", site)) return;
  for (;;) {
    MBarrier& b = *mbarrier_at(address, "mbarrier.try_wait").barrier;
    if (b.phase != (parity & 1)) return;
    b.waiting.push_back({self, parity & 1});
    wait_until_ready("mbarrier.try_wait (parity << 32 | address)", static_cast<uint64_t>(parity & 1) << 32 | address, site);
  }
}

}  // namespace m2::emulator
