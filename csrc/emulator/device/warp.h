// What the lanes of a warp do together. Each lane leaves its operands; the last one of the mask computes for all of them.
#pragma once
#include "emulator/device/scheduler.h"

namespace m2::emulator {

// compute(Warp&, mask) finds the operands of a lane with operands<T>(warp, lane). detail: what has to be the same in all lanes.
using Compute = void (*)(Warp&, uint32_t mask, uint64_t detail);
void collective(uint32_t mask, const char* name, uint64_t detail, void* arguments, Compute, Site site = {});

template <class T>
T& operands(Warp& warp, unsigned lane) {
  return *static_cast<T*>(warp.threads[lane]->arguments);
}

template <class F>
void for_each_lane(uint32_t mask, F f) {
  for (; mask; mask &= mask - 1) f(static_cast<unsigned>(__builtin_ctz(mask)));
}

}  // namespace m2::emulator
