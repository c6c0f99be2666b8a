// Accesses: where they are, whether anything is there, and whether they race with earlier ones.
#include <link.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "emulator/device/scheduler.h"
#include "emulator/host/allocations.h"
#include "emulator/language/builtins.h"
#include "emulator/trace/operations.h"
#include "emulator/trace/runtime.h"
#include "emulator/trace/trace.h"
#include "emulator/trace/traffic.h"

namespace m2::emulator::trace {

void order_by_atomic(const volatile void* address, Atomic kind, Semantics semantics);

namespace {

// Code is kept as its distance from this function: all of it is in one library.
uint32_t code_of(const void* pc) { return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(pc) - reinterpret_cast<uintptr_t>(&code_of)) & 0x7fffffffu; }
const void* pc_of(const Record& r) {
  const int32_t distance = static_cast<int32_t>(static_cast<uint32_t>(r.code) << 1) >> 1;
  return reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(&code_of) + static_cast<intptr_t>(distance));
}

bool find_races() {
  static const bool on = [] {
    const char* text = std::getenv("M2_EMULATOR_RACES");
    return !text || text[0] != '0';
  }();
  return on;
}

Shadow& global_shadow() {
  static Shadow* the = new Shadow;
  return *the;
}

// Where an address is.
enum class Room { kOwn, kShared, kGlobal, kHost };
struct Place {
  Room room;
  Block* block = nullptr;                            // shared memory
  const SharedMemory::Piece* piece = nullptr;
  const Allocation* allocation = nullptr;            // global memory
};

// Data of the program's own: constants, and the built-in variables of this thread.
bool is_program_data(const void* address) {
  struct Range {
    uintptr_t begin, end;
  };
  static const std::vector<Range> ranges = [] {
    std::vector<Range> all;
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* to) {
          for (int i = 0; i < info->dlpi_phnum; i++) {
            const auto& segment = info->dlpi_phdr[i];
            if (segment.p_type == PT_LOAD) static_cast<std::vector<Range>*>(to)->push_back({info->dlpi_addr + segment.p_vaddr, info->dlpi_addr + segment.p_vaddr + segment.p_memsz});
          }
          return 0;
        },
        &all);
    return all;
  }();
  const uintptr_t a = reinterpret_cast<uintptr_t>(address);
  for (const void* builtin : {static_cast<const void*>(&threadIdx), static_cast<const void*>(&blockIdx), static_cast<const void*>(&blockDim), static_cast<const void*>(&gridDim)}) {
    if (a - reinterpret_cast<uintptr_t>(builtin) < sizeof(dim3)) return true;
  }
  for (const Range& r : ranges) {
    if (a >= r.begin && a < r.end) return true;
  }
  return false;
}

Place find_place(const void* address, size_t bytes) {
  Thread& t = *self;
  if (t.stack.holds(address)) return {Room::kOwn};
  Block& own = *t.block;
  const uint8_t* p = static_cast<const uint8_t*>(address);
  const unsigned blocks = own.group->launch->kernel->cluster_blocks();
  for (unsigned i = 0; i < blocks; i++) {
    Block& block = *own.group->blocks[own.first_of_cluster + (own.rank + i) % blocks];
    for (const SharedMemory::Piece& piece : block.shared.pieces()) {
      if (p >= piece.data && p + bytes <= piece.data + piece.bytes) return {Room::kShared, &block, &piece};
    }
  }
  if (const Allocation* a = allocations().find(address, bytes)) return {Room::kGlobal, nullptr, nullptr, a};
  return {is_program_data(address) ? Room::kOwn : Room::kHost};
}

std::string words(const Place& place, const void* address) {
  if (place.room == Room::kGlobal) return allocations().describe(address);
  return std::to_string(static_cast<const uint8_t*>(address) - place.piece->data) + " bytes into shared array \"" + place.piece->name + "\"";
}

// "block (1,0,0) thread 37", and what of it.
std::string words(const Launch& launch, const EpochInfo& e) {
  const Kernel& k = *launch.kernel;
  const size_t in_group = (e.owner - 1) / k.threads(), thread = (e.owner - 1) % k.threads();
  const uint3 at = block_index(k, e.group * k.group_blocks() + in_group);
  const std::string block = "block (" + std::to_string(at.x) + "," + std::to_string(at.y) + "," + std::to_string(at.z) + ") ";
  if (e.actor == Actor::kWarpReads) return block + "warp " + std::to_string(thread / 32) + " with ldmatrix";
  constexpr const char* kWhat[] = {"", "'s cp.async", "", "'s bulk copy or wgmma"};
  return block + "thread " + std::to_string(thread) + kWhat[static_cast<int>(e.actor)];
}

// An access of a thread, or of an engine that threads have set off.
class AccessJudge : public Judge {
 public:
  AccessJudge(Warp* warp, bool is_engine, bool writes, const Place& place, const void* address, size_t bytes)
      : warp_(warp), is_engine_(is_engine), writes_(writes), place_(place), address_(address), bytes_(bytes) {}

  bool is_ordered(const Record& earlier, bool earlier_writes) override {
    unfenced_ = false;
    const uint32_t operation = self->block->group->launch->clocks.operation, before = operation_of(earlier.epoch);
    if (before != operation) return is_ordered_by_stream(before, operation);
    const EpochInfo* e = info_of(earlier.epoch);
    return e && (warp_ ? is_ordered_for_any_lane(*e, earlier_writes) : is_ordered_for(*self, *e, earlier_writes));
  }

  void conflict(const Record& earlier, bool earlier_writes) override {
    Launch& launch = *self->block->group->launch;
    const uint32_t before = operation_of(earlier.epoch);
    std::string text = "a race: ";
    text += std::string(writes_ ? "a write" : "a read") + " of " + std::to_string(bytes_) + " bytes " + words(place_, address_);
    if (is_engine_) text += ", by a bulk copy or wgmma that this thread issued,";
    text += std::string(" and ") + (earlier_writes ? "a write" : "a read") + " before it by ";
    if (before == launch.clocks.operation) {
      const EpochInfo* e = info_of(earlier.epoch);
      text += e ? words(launch, *e) : "a thread";
    } else {
      text += operation(before).name;
    }
    text += unfenced_ ? ", which fence.proxy.async has not followed" : ", and nothing orders the two";
    blame(launch, "this one at", self->clocks.code);
    if (earlier.code != 0) blame(launch, "that one at", pc_of(earlier));  // 0: a copy or a fill
    fail_with(std::move(text));
  }

 private:
  bool is_ordered_for(Thread& t, const EpochInfo& e, bool earlier_writes) {
    const GroupClocks& group = t.block->group->clocks;
    const bool own_group = e.group == group.index;
    const bool is_known = (own_group && e.component == t.clocks.component) || t.clocks.clocks.known.of(own_group, e.group, e.component) >= e.count;
    if (!is_known || !is_engine_ || !earlier_writes || e.actor == Actor::kEngine) return is_known;
    unfenced_ = t.clocks.clocks.fenced.of(own_group, e.group, e.component) < e.count;
    return !unfenced_;
  }

  bool is_ordered_for_any_lane(const EpochInfo& e, bool earlier_writes) {
    bool unfenced = false;
    for (Thread* t : warp_->threads) {
      if (t && is_ordered_for(*t, e, earlier_writes)) return true;
      unfenced = unfenced || unfenced_;
    }
    unfenced_ = unfenced;
    return false;
  }

  static bool is_ordered_by_stream(uint32_t before, uint32_t operation) {
    return trace::is_ordered(before, operation, self->clocks.clocks.known.own.of(0) > 0);
  }

  Warp* warp_;
  bool is_engine_, writes_, unfenced_ = false;
  const Place& place_;
  const void* address_;
  size_t bytes_;
};

uint32_t thread_epoch(Thread& t) {
  ThreadClocks& c = t.clocks;
  Group& g = *t.block->group;
  if (c.epoch == 0) c.epoch = new_epoch(g.launch->clocks, {g.clocks.index, c.component, c.count, Actor::kThread, c.component});
  return c.epoch;
}

void note(const Place& place, const void* address, size_t bytes, const Access& access, Judge& judge) {
  if (place.room == Room::kShared) {
    const size_t offset = place.piece->offset + static_cast<size_t>(static_cast<const uint8_t*>(address) - place.piece->data);
    place.block->shadow->access(offset, bytes, access, judge);
  } else {
    global_shadow().access(reinterpret_cast<uintptr_t>(address), bytes, access, judge);
  }
}

Access make_access(uint32_t epoch, bool writes, bool atomic) {
  Access a;
  a.record.epoch = epoch;
  a.record.code = code_of(self->clocks.code);
  a.record.atomic = atomic;
  a.writes = writes;
  a.owner = reinterpret_cast<uintptr_t>(self->warp);
  return a;
}

void access(const void* address, size_t bytes, bool writes, bool atomic, uint32_t epoch = 0, size_t alignment = 1) {
  const Place place = find_place(address, bytes);
  if (place.room == Room::kOwn) return;
  if (reinterpret_cast<uintptr_t>(address) % alignment != 0) {
    blame(*group().launch, "in the code at", self->clocks.code);
    fail("%s of %zu bytes at %p, which is not aligned to %zu", writes ? "a write" : "a read", bytes, address, alignment);
  }
  if (place.room == Room::kHost) {
    blame(*group().launch, "in the code at", self->clocks.code);
    char text[80];
    std::snprintf(text, sizeof text, "%s of %zu bytes out of bounds at %p: ", writes ? "a write" : "a read", bytes, address);
    fail_with(text + allocations().describe(address));
  }
  if (place.room == Room::kGlobal) count_traffic(*group().launch, address, bytes, writes);
  if (!find_races()) return;
  AccessJudge judge(nullptr, false, writes, place, address, bytes);
  note(place, address, bytes, make_access(epoch ? epoch : thread_epoch(*self), writes, atomic), judge);
}

void engine_access(Warp* warp, const Engine& e, const void* address, size_t bytes, bool writes, bool atomic) {
  const Place place = find_place(address, bytes);
  if (place.room == Room::kGlobal) count_traffic(*group().launch, address, bytes, writes);
  if (!find_races() || (place.room != Room::kGlobal && place.room != Room::kShared)) return;
  AccessJudge judge(warp, true, writes, place, address, bytes);
  note(place, address, bytes, make_access(e.epoch, writes, atomic), judge);
}

}  // namespace

void read(const void* address, size_t bytes) {
  if (self && bytes > 0) access(address, bytes, false, false);
}

void write(const void* address, size_t bytes) {
  if (self && bytes > 0) access(address, bytes, true, false);
}

void read_for_warp(const void* address, size_t bytes) {
  Engine& reads = self->warp->reads;
  Group& g = group();
  if (reads.component == 0) reads.component = g.clocks.components++;
  if (reads.epoch == 0) reads.epoch = new_epoch(g.launch->clocks, {g.clocks.index, reads.component, ++reads.count, Actor::kWarpReads, self->clocks.component});
  access(address, bytes, false, false, reads.epoch);
}

void use(const void* address, size_t bytes) {
  if (self) access(address, bytes, false, true);
}

void atomic(const volatile void* address, size_t bytes, Atomic kind, Semantics semantics) {
  if (!self) return;
  order_by_atomic(address, kind, semantics);
  access(const_cast<const void*>(address), bytes, kind != Atomic::kLoad, true);
}

void plain(const void* address, size_t bytes, bool writes, bool aligned, const void* code) {
  if (!self || self->clocks.inside > 0) return;
  const Inside inside(code);
  access(address, bytes, writes, false, 0, aligned ? std::min<size_t>(bytes, 8) : 1);  // of 16 bytes the compiler says no more
}

void copy_issued(const void* destination, size_t bytes, const void* source, size_t source_bytes) {
  Thread& t = *self;
  Group& g = group();
  ThreadClocks& c = t.clocks;
  if (c.copies == 0) c.copies = g.clocks.components++;
  if (c.copies_epoch == 0) c.copies_epoch = new_epoch(g.launch->clocks, {g.clocks.index, c.copies, c.copies_count, Actor::kCopies, c.component});
  const auto touch = [&](const void* address, size_t n, bool writes) {
    const Place place = find_place(address, n);
    if (place.room == Room::kGlobal) count_traffic(*g.launch, address, n, writes);
    if (!find_races()) return;
    AccessJudge judge(nullptr, false, writes, place, address, n);
    note(place, address, n, make_access(c.copies_epoch, writes, false), judge);
  };
  touch(destination, bytes, true);
  if (source_bytes > 0) touch(source, source_bytes, false);
}

void engine_reads(const Engine& e, const void* address, size_t bytes) { engine_access(nullptr, e, address, bytes, false, false); }
void engine_writes(const Engine& e, const void* address, size_t bytes, bool atomic) { engine_access(nullptr, e, address, bytes, true, atomic); }
void engine_reads(Warp& warp, const Engine& e, const void* address, size_t bytes) { engine_access(&warp, e, address, bytes, false, false); }

namespace {

// Copies of the host's are ordered by streams alone.
class OperationJudge : public Judge {
 public:
  OperationJudge(uint32_t operation, const void* address) : operation_(operation), address_(address) {}
  bool is_ordered(const Record& earlier, bool) override { return trace::is_ordered(operation_of(earlier.epoch), operation_, false); }
  void conflict(const Record& earlier, bool earlier_writes) override {
    if (!text.empty()) return;
    text = operation(operation_).name + " and " + (earlier_writes ? "a write" : "a read") + " before it by " + operation(operation_of(earlier.epoch)).name +
           " race, " + allocations().describe(address_) + ": nothing orders the two";
  }
  std::string text;

 private:
  uint32_t operation_;
  const void* address_;
};

std::string operation_access(uint32_t id, const void* address, size_t bytes, bool writes) {
  if (!find_races() || bytes == 0) return "";
  LaunchClocks clocks;
  clocks.operation = id;
  Access a;
  a.record.epoch = new_epoch(clocks, {});
  a.writes = writes;
  a.owner = id;
  OperationJudge judge(id, address);
  global_shadow().access(reinterpret_cast<uintptr_t>(address), bytes, a, judge);
  return judge.text;
}

}  // namespace

std::string operation_reads(uint32_t id, const void* address, size_t bytes) { return operation_access(id, address, bytes, false); }
std::string operation_writes(uint32_t id, const void* address, size_t bytes) { return operation_access(id, address, bytes, true); }

void forget_memory(const void* address, size_t bytes) { global_shadow().forget(reinterpret_cast<uintptr_t>(address), bytes); }

void forget_everything() {
  global_shadow().clear();
  forget_history();
}

}  // namespace m2::emulator::trace
