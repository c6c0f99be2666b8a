#include "emulator/trace/operations.h"

#include <algorithm>
#include <memory>

#include "emulator/device/state.h"
#include "emulator/trace/traffic.h"

namespace m2::emulator::trace {
namespace {

constexpr size_t kMostChunks = 400000;  // of epochs, whose numbers have 31 bits

struct World {
  std::vector<Operation> operations{Operation{}};  // 0 is none
  std::vector<std::unique_ptr<EpochInfo[]>> chunks;
  std::vector<uint32_t> chunk_operations;
  SharedKnown host = std::make_shared<Known>();
  uint32_t streams = 0;
};

World& world() {
  static World* the = new World;
  return *the;
}

void raise(Known& known, const Known& other) {
  if (known.size() < other.size()) known.resize(other.size());
  for (size_t i = 0; i < other.size(); i++) known[i] = std::max(known[i], other[i]);
}

}  // namespace

void begin_stream(StreamClock& s) {
  s.index = world().streams++;
  s.next = kStep;
  s.tail = world().host;
}

SharedKnown append(StreamClock& s, const std::vector<SharedKnown>& after) {
  auto known = std::make_shared<Known>(*s.tail);
  raise(*known, *world().host);
  for (const SharedKnown& other : after) {
    if (other) raise(*known, *other);
  }
  if (known->size() <= s.index) known->resize(s.index + 1);
  (*known)[s.index] = s.next;
  auto tail = std::make_shared<Known>(*known);
  (*tail)[s.index] = s.next += kStep;
  s.tail = std::move(tail);
  return known;
}

void host_waited(const SharedKnown& known) {
  if (!known) return;
  auto host = std::make_shared<Known>(*world().host);
  raise(*host, *known);
  world().host = std::move(host);
}

uint32_t add_operation(const std::string& name, uint32_t stream, uint64_t number, SharedKnown known, uint32_t in_front) {
  Operation o;
  o.name = name;
  o.stream = stream;
  o.number = number;
  o.known = std::move(known);
  o.overlaps = in_front != 0;
  o.own = in_front ? world().operations[in_front].own : number;
  world().operations.push_back(std::move(o));
  return static_cast<uint32_t>(world().operations.size() - 1);
}

void in_front_ended(uint32_t id, uint32_t in_front) {
  Operation& o = world().operations[id];
  const Operation& front = world().operations[in_front];
  const bool knew = !front.overlaps || front.waited;
  o.hole_begin = knew ? front.hole_begin : front.own;
  o.hole_end = knew ? front.hole_end : front.number;
}

const Operation& operation(uint32_t id) { return world().operations[id]; }
Operation& changing_operation(uint32_t id) { return world().operations[id]; }

bool is_ordered(uint32_t earlier_id, uint32_t later_id, bool waited) {
  const Operation &earlier = world().operations[earlier_id], &later = world().operations[later_id];
  if (earlier.stream != later.stream) return earlier.stream < later.known->size() && earlier.number < (*later.known)[earlier.stream];
  if (earlier.number < later.own) return true;
  if (!waited || earlier.number >= later.number) return false;
  return earlier.number < later.hole_begin || earlier.number >= later.hole_end;
}

uint32_t new_epoch(LaunchClocks& l, const EpochInfo& info) {
  World& w = world();
  if (l.chunks.empty() || l.used == kChunk) {
    l.chunks.push_back(static_cast<uint32_t>(w.chunks.size()));
    l.used = l.chunks.back() == 0 ? 1 : 0;  // epoch 0 is none
    w.chunks.push_back(std::make_unique<EpochInfo[]>(kChunk));
    w.chunk_operations.push_back(l.operation);
  }
  w.chunks[l.chunks.back()][l.used] = info;
  return l.chunks.back() * kChunk + l.used++;
}

uint32_t operation_of(uint32_t epoch) { return world().chunk_operations[epoch / kChunk]; }

const EpochInfo* info_of(uint32_t epoch) {
  const auto& chunk = world().chunks[epoch / kChunk];
  return chunk ? &chunk[epoch % kChunk] : nullptr;
}

void begin_launch(Launch& launch, uint32_t operation) {
  launch.clocks.operation = operation;
  launch.clocks.chunks.clear();
  launch.clocks.used = 0;
  begin_traffic(launch);
}

void end_launch(Launch& launch) {
  for (uint32_t chunk : launch.clocks.chunks) world().chunks[chunk] = nullptr;
  launch.clocks.atomics.clear();
}

void forget_if_much() {
  if (world().chunks.size() > kMostChunks) forget_everything();
}

void forget_history() {
  World& w = world();
  w.operations.resize(1);
  w.chunks.clear();
  w.chunk_operations.clear();
}

}  // namespace m2::emulator::trace
