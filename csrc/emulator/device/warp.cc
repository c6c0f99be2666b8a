#include "emulator/device/warp.h"

#include "emulator/device/memory.h"
#include "emulator/instructions.h"
#include "emulator/sites.h"

namespace m2::emulator {

void collective(uint32_t mask, const char* name, uint64_t detail, void* arguments, Compute compute, Site site) {
  Thread& me = *self;
  Warp& warp = *me.warp;
  const uint32_t bit = 1u << me.lane;
  mask &= warp.all;
  if (!(mask & bit)) fail("%s: mask %08x leaves out the calling lane", name, mask);
  if (mask & warp.ended) fail("%s: mask %08x names lanes %08x, which have ended", name, mask, mask & warp.ended);
  Collective& c = warp.collectives[__builtin_ctz(mask)];
  if (!c.arrived) {
    c.mask = mask;
    c.name = name;
    c.detail = detail;
    c.site = site;
  } else if (c.mask != mask || c.name != name || c.detail != detail) {
    fail("a warp diverges: %s (mask %08x, operands %llx) meets %s (mask %08x, operands %llx)", name, mask, static_cast<unsigned long long>(detail), c.name,
         c.mask, static_cast<unsigned long long>(c.detail));
  }
  c.arrived |= bit;
  me.arguments = arguments;
  if (c.arrived != mask) return wait_until_ready(name, mask, site);
  c.arrived = 0;
  if (compute) compute(warp, mask, detail);
  for_each_lane(mask & ~bit, [&](unsigned lane) { make_ready(*warp.threads[lane]); });
  preempt();
}

void sync_warp(uint32_t mask, Site site) {
  if (!skips("__syncwarp", site)) collective(mask, "__syncwarp", 0, nullptr, nullptr, site);
}

// Some lane of the mask, and always the same one.
bool elect(uint32_t mask) {
  needs_hopper("elect.sync");
  collective(mask, "elect.sync", 0, nullptr, nullptr);
  mask &= self->warp->all;
  const uint64_t seed = group().launch->seed;
  for (uint64_t skip = seed ? mix(seed + mask) % static_cast<unsigned>(__builtin_popcount(mask)) : 0; skip > 0; skip--) mask &= mask - 1;
  return self->lane == static_cast<unsigned>(__builtin_ctz(mask));
}

namespace {

struct ShuffleLane {
  uint64_t in, out;
  int argument;
};

// What a lane outside the mask would give is undefined on the hardware: all ones here.
void compute_shuffle(Warp& warp, uint32_t mask, uint64_t detail) {
  const Shuffle kind = static_cast<Shuffle>(detail >> 8);
  const int width = static_cast<int>(detail & 255);
  for_each_lane(mask, [&](unsigned lane) {
    ShuffleLane& me = operands<ShuffleLane>(warp, lane);
    const int base = static_cast<int>(lane) / width * width, place = static_cast<int>(lane) - base, argument = me.argument;
    int source = place;
    switch (kind) {
      case Shuffle::kIndex: source = argument & (width - 1); break;
      case Shuffle::kUp: source = place - argument < 0 ? place : place - argument; break;
      case Shuffle::kDown: source = place + argument >= width ? place : place + argument; break;
      case Shuffle::kXor: source = (place ^ argument) >= width ? place : place ^ argument; break;
    }
    me.out = mask >> (base + source) & 1 ? operands<ShuffleLane>(warp, static_cast<unsigned>(base + source)).in : ~uint64_t{0};
  });
}

}  // namespace

uint64_t shuffle(uint32_t mask, uint64_t value, Shuffle kind, int argument, int width) {
  if (width < 1 || width > 32 || (width & (width - 1))) fail("a shuffle of width %d", width);
  ShuffleLane lane{value, 0, argument};
  constexpr const char* kNames[] = {"__shfl_sync", "__shfl_up_sync", "__shfl_down_sync", "__shfl_xor_sync"};
  collective(mask, kNames[static_cast<int>(kind)], static_cast<uint64_t>(kind) << 8 | static_cast<unsigned>(width), &lane, compute_shuffle);
  return lane.out;
}

uint32_t ballot(uint32_t mask, bool predicate) {
  struct Lane {
    bool in;
    uint32_t out;
  } lane{predicate, 0};
  collective(mask, "a vote", 0, &lane, [](Warp& warp, uint32_t mask, uint64_t) {
    uint32_t votes = 0;
    for_each_lane(mask, [&](unsigned l) { votes |= static_cast<uint32_t>(operands<Lane>(warp, l).in) << l; });
    for_each_lane(mask, [&](unsigned l) { operands<Lane>(warp, l).out = votes; });
  });
  return lane.out;
}

uint32_t match_any(uint32_t mask, uint64_t value) {
  struct Lane {
    uint64_t in;
    uint32_t out;
  } lane{value, 0};
  collective(mask, "__match_any_sync", 0, &lane, [](Warp& warp, uint32_t mask, uint64_t) {
    for_each_lane(mask, [&](unsigned l) {
      Lane& me = operands<Lane>(warp, l);
      for_each_lane(mask, [&](unsigned other) { me.out |= static_cast<uint32_t>(operands<Lane>(warp, other).in == me.in) << other; });
    });
  });
  return lane.out;
}

namespace {

uint32_t combine(Reduction kind, uint32_t a, uint32_t b) {
  const int32_t sa = static_cast<int32_t>(a), sb = static_cast<int32_t>(b);
  switch (kind) {
    case Reduction::kAddU32: return a + b;
    case Reduction::kMinU32: return a < b ? a : b;
    case Reduction::kMaxU32: return a > b ? a : b;
    case Reduction::kMinS32: return sa < sb ? a : b;
    case Reduction::kMaxS32: return sa > sb ? a : b;
    case Reduction::kAnd: return a & b;
    case Reduction::kOr: return a | b;
    case Reduction::kXor: return a ^ b;
  }
  return 0;
}

}  // namespace

uint32_t reduce(uint32_t mask, uint32_t value, Reduction kind) {
  collective(mask, "__reduce_sync", static_cast<uint64_t>(kind), &value, [](Warp& warp, uint32_t mask, uint64_t detail) {
    uint32_t sum = operands<uint32_t>(warp, static_cast<unsigned>(__builtin_ctz(mask)));
    for_each_lane(mask & (mask - 1), [&](unsigned l) { sum = combine(static_cast<Reduction>(detail), sum, operands<uint32_t>(warp, l)); });
    for_each_lane(mask, [&](unsigned l) { operands<uint32_t>(warp, l) = sum; });
  });
  return value;
}

}  // namespace m2::emulator
