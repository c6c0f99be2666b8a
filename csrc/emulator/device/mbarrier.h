// What the other instructions need of mbarriers.
#pragma once
#include "emulator/device/state.h"

namespace m2::emulator {

struct MBarrierAt {
  Block* block;
  MBarrier* barrier;
};
// The one at a shared address of this block or another one of its cluster; the launch fails where there is none.
MBarrierAt mbarrier_at(uint32_t address, const char* what);
// For the copy engine: its initialisation has been fenced.
MBarrierAt announced_mbarrier_at(uint32_t address, const char* what);
MBarrier* find_mbarrier(Block&, uint32_t offset);  // nullptr: there is none
void mbarrier_bytes_arrived(Block&, uint32_t offset, int64_t bytes);
void mbarrier_arrived(Block&, MBarrier&, int count, const char* what);
void announce_mbarriers(Block&, const Thread* initialised_by);

}  // namespace m2::emulator
