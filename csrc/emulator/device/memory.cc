// Shared memory as a thread sees it, fences, plain memory instructions and cp.async.
//
// cp.async: the destination is filled with 0xff when the copy is issued, so that whoever reads it before the wait reads NaN; the copy itself runs at the
// wait for it (late), at once (early), or either (random).
#include <cstring>

#include "emulator/device/mbarrier.h"
#include "emulator/device/memory.h"
#include "emulator/device/scheduler.h"
#include "emulator/instructions.h"
#include "emulator/settings.h"
#include "emulator/sites.h"

namespace m2::emulator {

void* dynamic_shared() {
  const SharedMemory::Piece* piece = self->block->shared.find(nullptr);
  if (!piece) fail("the kernel uses dynamic shared memory and the launch gives none");
  return piece->data;
}

void* static_shared(const void* key, const char* name, size_t bytes, size_t alignment) {
  SharedMemory& shared = self->block->shared;
  if (const SharedMemory::Piece* piece = shared.find(key)) return piece->data;
  const SharedMemory::Piece* piece = shared.bytes() + bytes <= shared_limit() ? shared.add(key, name, bytes, alignment) : nullptr;
  if (!piece) fail("the shared array \"%s\" of %zu bytes does not fit: a block has at most %zu", name, bytes, shared_limit());
  return piece->data;
}

void needs_hopper(const char* what) {
  if (settings().architecture < 90) fail("%s needs sm_90, and this device is sm_%d", what, settings().architecture);
}

uint32_t shared_address(const void* pointer) {
  const Block& block = *self->block;
  const SharedMemory::Piece* piece = block.shared.holding(pointer);
  if (!piece) fail("%p is not in this block's shared memory", pointer);
  return block.rank * kSharedRank + piece->offset + static_cast<uint32_t>(static_cast<const uint8_t*>(pointer) - piece->data);
}

uint8_t* shared_bytes(uint32_t address, size_t bytes, size_t alignment, const char* what) {
  const Block& me = *self->block;
  const uint32_t rank = address / kSharedRank, offset = address % kSharedRank;
  const unsigned cluster = me.group->launch->kernel->cluster_blocks();
  if (rank >= cluster) fail("%s: shared address %08x names block %u of a cluster of %u", what, address, rank, cluster);
  if (offset % alignment != 0) fail("%s: shared address %08x is not aligned to %zu bytes", what, address, alignment);
  const Block& block = *me.group->blocks[me.first_of_cluster + rank];
  if (block.alive == 0) fail("%s: shared memory of block %u of the cluster, which has ended", what, rank);
  uint8_t* found = block.shared.at(offset, bytes);
  if (!found) fail("%s: %zu bytes at shared address %08x lie outside the block's shared memory", what, bytes, address);
  return found;
}

void fence(Scope, Site site) {
  if (!skips("fence", site)) preempt();
}

uint32_t load_acquire(const uint32_t* address, Site) {
  check_global(address, 4, 4, "ld.acquire");
  before_atomic(address, 4);
  return __atomic_load_n(address, __ATOMIC_SEQ_CST);
}

void store_release(uint32_t* address, uint32_t value, Site) {
  check_global(address, 4, 4, "st.release");
  before_atomic(address, 4);
  __atomic_store_n(address, value, __ATOMIC_SEQ_CST);
}

uint32_t add_acquire_release(uint32_t* address, uint32_t value, Site) {
  check_global(address, 4, 4, "atom.add.acq_rel");
  before_atomic(address, 4);
  return __atomic_fetch_add(address, value, __ATOMIC_SEQ_CST);
}

void add_release(uint32_t* address, uint32_t value, Site site) { add_acquire_release(address, value, site); }

namespace {

void copy_now(const AsyncCopy& copy) {
  std::memcpy(copy.destination, copy.source, static_cast<size_t>(copy.source_bytes));
  std::memset(copy.destination + copy.source_bytes, 0, static_cast<size_t>(copy.bytes - copy.source_bytes));
}

void complete_copies(Thread& t, size_t until) {
  for (; t.copies_done < until; t.copies_done++) copy_now(t.copies[t.copies_done]);
}

}  // namespace

void cp_async(uint32_t destination, const void* source, int bytes, int source_bytes) {
  if (bytes != 4 && bytes != 8 && bytes != 16) fail("cp.async of %d bytes", bytes);
  if (source_bytes < 0 || source_bytes > bytes) fail("cp.async: %d of %d bytes from memory", source_bytes, bytes);
  if (source_bytes > 0) check_global(source, static_cast<size_t>(source_bytes), static_cast<size_t>(bytes), "cp.async");
  const AsyncCopy copy{shared_bytes(destination, static_cast<size_t>(bytes), static_cast<size_t>(bytes), "cp.async"), source, bytes, source_bytes};
  Group& g = group();
  if (g.completion() == Completion::kEarly || (g.completion() == Completion::kRandom && g.random.one_in(2))) return copy_now(copy);
  std::memset(copy.destination, 0xff, static_cast<size_t>(bytes));
  self->copies.push_back(copy);
}

void cp_async_commit(Site site) {
  if (!skips("cp.async.commit_group", site)) self->copy_groups.push_back(self->copies.size());
}

void cp_async_wait(int groups, Site site) {
  if (skips("cp.async.wait_group", site)) return;
  Thread& t = *self;
  const size_t in_flight = t.copy_groups.size(), may_fly = static_cast<size_t>(groups);
  if (in_flight <= may_fly) return;
  const size_t until = t.copy_groups[in_flight - may_fly - 1];
  t.copy_groups.erase(t.copy_groups.begin(), t.copy_groups.end() - groups);
  complete_copies(t, until);
}

void complete_all_copies(Thread& t) {
  t.copy_groups.clear();
  complete_copies(t, t.copies.size());
}

void cp_async_wait_all(Site site) {
  if (!skips("cp.async.wait_all", site)) complete_all_copies(*self);
}

void cp_async_mbarrier_arrive(uint32_t mbarrier, bool noinc, Site site) {
  if (skips("cp.async.mbarrier.arrive", site)) return;
  const MBarrierAt at = mbarrier_at(mbarrier, "cp.async.mbarrier.arrive");
  if (!noinc) at.barrier->pending++;
  start_async([mbarrier, thread = self, issued = self->copies.size(), &block = *at.block, offset = at.barrier->offset] {
    complete_copies(*thread, issued);
    MBarrier* b = find_mbarrier(block, offset);
    if (!b) fail("cp.async.mbarrier.arrive: the mbarrier at shared address %08x is gone", mbarrier);
    mbarrier_arrived(block, *b, 1, "cp.async.mbarrier.arrive");
  });
}

void load_streaming_16(void* registers, const void* source) {
  check_global(source, 16, 16, "ld.global.nc");
  std::memcpy(registers, source, 16);
}

void prefetch_l2(const void*) {}  // of an address that is none it does nothing

}  // namespace m2::emulator
