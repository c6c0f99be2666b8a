// What orders what within a kernel.
#include "emulator/device/scheduler.h"
#include "emulator/trace/operations.h"
#include "emulator/trace/trace.h"

namespace m2::emulator::trace {
namespace {

constexpr uint32_t kPreviousKernel = 0;  // the component that stands for the kernel in front

ThreadClocks& mine() { return self->clocks; }
uint32_t group_index(const Thread& t) { return t.block->group->clocks.index; }
uint64_t block_key(const Thread& t) {
  const uint3 b = t.block->index;
  return b.x + (uint64_t{b.y} << 32) + (uint64_t{b.z} << 48);
}

// Others may learn of what the thread has done so far; what it does next is something else.
void tick(ThreadClocks& t) {
  t.count++;
  t.epoch = 0;
}

bool is_empty(const Clock& clock) { return clock.own.is_empty() && !clock.others; }

void add_known(SyncPoint& point, const Thread& t) {
  point.add(group_index(t), t.clocks.clocks.known);
  point.add(group_index(t), t.clocks.component, t.clocks.count);
}

void add_all(Order& order, const Thread& t) {
  const uint32_t group = group_index(t);
  const Clocks& c = t.clocks.clocks;
  add_known(order.known, t);
  if (!is_empty(c.fenced)) order.fenced.add(group, c.fenced);
  if (!is_empty(c.released)) order.released.add(group, c.released);
  if (!is_empty(c.heard)) order.heard.add(group, c.heard);
}

Messages messages(Order& order) {
  const auto of = [](SyncPoint& point) { return point.is_empty() ? nullptr : point.message(); };
  return {of(order.known), of(order.fenced), of(order.released), of(order.heard)};
}

void hear(Clock& clock, uint32_t group, const Message& message) {
  if (message) learn(clock, group, message);
}

void learn_all(Clocks& clocks, uint32_t group, const Messages& m) {
  hear(clocks.known, group, m.known);
  hear(clocks.fenced, group, m.fenced);
  hear(clocks.released, group, m.released);
  hear(clocks.heard, group, m.heard);
}

// All that the thread knows, and what it did itself.
Clock all_known(const Thread& t) {
  Clock clock = t.clocks.clocks.known;
  clock.own.learn(t.clocks.component, t.clocks.count);
  return clock;
}

}  // namespace

void begin_group(Group& g, size_t index) {
  g.clocks.index = static_cast<uint32_t>(index);
  g.clocks.components = 1;
}

void begin_block(Block& b) {
  if (!b.shadow) b.shadow = std::make_unique<Shadow>();
  b.shadow->clear();
}

void begin_thread(Thread& t) {
  t.clocks = {};
  t.clocks.component = t.block->group->clocks.components++;
  t.clocks.count = t.clocks.copies_count = 1;
}

Inside::Inside(const void* code) {
  if (self && self->clocks.inside++ == 0) self->clocks.code = code;
}
Inside::~Inside() {
  if (self) self->clocks.inside--;
}

void arrive(Order& order) {
  add_all(order, *self);
  tick(mine());
}

Messages take(Order& order) {
  const Messages m = messages(order);
  order = {};
  return m;
}

void leave(Thread& t, const Messages& m, bool took_part) {
  const uint32_t group = group_index(t);
  if (!took_part || !m.known) return learn_all(t.clocks.clocks, group, m);
  become(t.clocks.clocks.known, group, m.known);
  learn_all(t.clocks.clocks, group, {nullptr, m.fenced, m.released, m.heard});
}

void meet(Warp& warp, uint32_t mask) {
  Order order;
  for (uint32_t rest = mask; rest; rest &= rest - 1) add_all(order, *warp.threads[__builtin_ctz(rest)]);
  const Messages m = messages(order);
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    Thread& t = *warp.threads[__builtin_ctz(rest)];
    leave(t, m, true);
    tick(t.clocks);
  }
}

void fence(bool of_block) {
  Thread& t = *self;
  Clocks& c = t.clocks.clocks;
  const Clock& heard = of_block ? c.heard_in_block : c.heard;
  if (!is_empty(heard)) learn(c.known, heard);
  c.released_in_block = all_known(t);
  if (!of_block) c.released = c.released_in_block;
  tick(t.clocks);
}

void fence_for_engines() {
  self->clocks.clocks.fenced = all_known(*self);
  tick(self->clocks);
}

void previous_kernel_ended() {
  changing_operation(group().launch->clocks.operation).waited = true;
  mine().clocks.known.own.learn(kPreviousKernel, 1);
  tick(mine());
}

void warp_has_read(Warp& warp) {
  for (Thread* t : warp.threads) t->clocks.clocks.known.own.learn(warp.reads.component, warp.reads.count);
  warp.reads.epoch = 0;
}

namespace {

void hear_from(AtomicPlace& place, Semantics semantics) {
  Thread& t = *self;
  Clocks& c = t.clocks.clocks;
  const uint32_t group = group_index(t);
  const bool acquires = semantics == Semantics::kAcquire || semantics == Semantics::kBoth;
  const auto from = [&](Order& order, Clock& relaxed) {
    const Messages m = messages(order);
    hear(acquires ? c.known : relaxed, group, m.known);
    hear(c.fenced, group, m.fenced);
  };
  from(place.device, c.heard);
  const auto in_block = place.in_block.find(block_key(t));
  if (in_block == place.in_block.end()) return;
  from(in_block->second, c.heard);
  from(in_block->second, c.heard_in_block);
}

void release_to(AtomicPlace& place, Semantics semantics) {
  Thread& t = *self;
  const uint32_t group = group_index(t);
  const Clocks& c = t.clocks.clocks;
  if (semantics == Semantics::kRelease || semantics == Semantics::kBoth) add_known(place.device.known, t);
  else if (!is_empty(c.released)) place.device.known.add(group, c.released);
  if (!is_empty(c.released_in_block)) place.in_block[block_key(t)].known.add(group, c.released_in_block);
  if (!is_empty(c.fenced)) place.device.fenced.add(group, c.fenced);
  tick(t.clocks);
}

}  // namespace

// Before the operation itself; nobody runs in between.
void order_by_atomic(const volatile void* address, Atomic kind, Semantics semantics) {
  auto& places = group().launch->clocks.atomics;
  const bool releases = semantics == Semantics::kRelease || semantics == Semantics::kBoth || !is_empty(mine().clocks.released) ||
                        !is_empty(mine().clocks.released_in_block);
  auto found = places.find(address);
  if (found == places.end()) {
    if (kind == Atomic::kLoad || !releases) return;
    found = places.try_emplace(address).first;
  }
  if (kind != Atomic::kStore) hear_from(found->second, semantics);
  else found->second = {};
  if (kind != Atomic::kLoad && releases) release_to(found->second, semantics);
}

namespace {

uint32_t next_copies(ThreadClocks& t) {
  t.copies_epoch = 0;
  return t.copies_count++;
}

void learn_of_copies(Thread& t, uint32_t count) {
  if (t.clocks.copies) t.clocks.clocks.known.own.learn(t.clocks.copies, count);
}

}  // namespace

void copies_committed() { mine().copy_groups.push_back(next_copies(mine())); }

void copies_waited(size_t in_flight) {
  std::vector<uint32_t>& groups = mine().copy_groups;
  if (groups.size() <= in_flight) return;
  const size_t done = groups.size() - in_flight;
  learn_of_copies(*self, groups[done - 1]);
  groups.erase(groups.begin(), groups.begin() + static_cast<ptrdiff_t>(done));
}

void all_copies_waited() {
  mine().copy_groups.clear();
  learn_of_copies(*self, next_copies(mine()));
}

uint32_t copies_to_arrive(Thread& t) { return next_copies(t.clocks); }

void copies_arrive(Thread& t, uint32_t count, Order& order) {
  if (t.clocks.copies) order.known.add(group_index(t), t.clocks.copies, count);
}

Engine begin_engine(FreeEngines& free) {
  constexpr size_t kLeftAlone = 16;
  Group& g = group();
  Engine e;
  if (free.size() <= kLeftAlone) {
    e.component = g.clocks.components++;
  } else {
    e = free.front();
    free.pop_front();
  }
  e.count++;
  e.epoch = new_epoch(g.launch->clocks, {g.clocks.index, e.component, e.count, Actor::kEngine, mine().component});
  return e;
}

void engine_arrives(Group& g, const Engine& e, Order& order) { order.known.add(g.clocks.index, e.component, e.count); }
void engine_waited(Thread& t, const Engine& e) { t.clocks.clocks.known.own.learn(e.component, e.count); }
void end_engine(FreeEngines& free, const Engine& e) { free.push_back(e); }

}  // namespace m2::emulator::trace
