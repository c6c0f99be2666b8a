// Clusters: their barrier, and addresses of other blocks' shared memory.
#include <cstring>

#include "emulator/device/memory.h"
#include "emulator/device/scheduler.h"
#include "emulator/instructions.h"
#include "emulator/sites.h"

namespace m2::emulator {
namespace {

unsigned cluster_size() { return group().launch->kernel->cluster_blocks(); }

ClusterBarrier& barrier_of(Block& block) { return block.group->cluster_barriers[block.first_of_cluster / block.group->launch->kernel->cluster_blocks()]; }

void release_if_full(Block& block) {
  ClusterBarrier& b = barrier_of(block);
  unsigned alive = 0;
  for (unsigned i = 0; i < block.group->launch->kernel->cluster_blocks(); i++) alive += block.group->blocks[block.first_of_cluster + i]->alive;
  if (b.arrived == 0 || b.arrived < alive) return;
  b.arrived = 0;
  b.phase++;
  for (Thread* t : b.waiting) make_ready(*t);
  b.waiting.clear();
}

}  // namespace

void cluster_after_end(Block& block) { release_if_full(block); }

unsigned cluster_rank() {
  needs_hopper("%cluster_ctarank");
  return self->block->rank;
}

unsigned cluster_blocks() {
  needs_hopper("%cluster_nctarank");
  return cluster_size();
}

void cluster_arrive(Site site) {
  needs_hopper("barrier.cluster.arrive");
  if (skips("barrier.cluster.arrive", site)) return;
  if (self->cluster_arrived) fail("barrier.cluster.arrive: a second time without barrier.cluster.wait (%s:%u)", site.file, site.line);
  ClusterBarrier& b = barrier_of(*self->block);
  self->cluster_arrived = true;
  self->cluster_phase = b.phase;
  b.arrived++;
  release_if_full(*self->block);
}

void cluster_wait(Site site) {
  needs_hopper("barrier.cluster.wait");
  if (skips("barrier.cluster.wait", site)) return;
  if (!self->cluster_arrived) fail("barrier.cluster.wait without barrier.cluster.arrive (%s:%u)", site.file, site.line);
  ClusterBarrier& b = barrier_of(*self->block);
  self->cluster_arrived = false;
  if (b.phase != self->cluster_phase) return preempt();
  b.waiting.push_back(self);
  wait_until_ready("barrier.cluster.wait", 0, site);
}

uint32_t map_shared(uint32_t address, unsigned rank) {
  needs_hopper("mapa");
  if (rank >= cluster_size()) fail("mapa: block %u of a cluster of %u", rank, cluster_size());
  return rank * kSharedRank + address % kSharedRank;
}

void load_cluster(void* registers, uint32_t address, unsigned bytes) {
  needs_hopper("ld.shared::cluster");
  std::memcpy(registers, shared_bytes(address, bytes, bytes, "ld.shared::cluster"), bytes);
}

void store_cluster(uint32_t address, const void* registers, unsigned bytes) {
  needs_hopper("st.shared::cluster");
  std::memcpy(shared_bytes(address, bytes, bytes, "st.shared::cluster"), registers, bytes);
}

}  // namespace m2::emulator
