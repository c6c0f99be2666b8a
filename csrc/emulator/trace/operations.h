// What the host has the device do, and what orders one such operation before another: the order of a stream, events, waits of the host. A stream's work
// counts up; what an operation knows is up to where the work of each stream is complete.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "emulator/trace/trace.h"

namespace m2::emulator {

struct Launch;

namespace trace {

using Known = std::vector<uint64_t>;  // by stream: everything below this is complete
using SharedKnown = std::shared_ptr<const Known>;

constexpr uint64_t kStep = uint64_t{1} << 20;  // from one piece of work to the next: pieces of a graph count in between

struct StreamClock {
  uint32_t index = 0;
  uint64_t next = kStep;
  SharedKnown tail;  // what is known when all its work is done
};

void begin_stream(StreamClock&);
// For the next piece of work of a stream, which comes after those of `after`: what it knows.
SharedKnown append(StreamClock&, const std::vector<SharedKnown>& after);
// The host has waited for all that is known there.
void host_waited(const SharedKnown&);

struct Operation {
  std::string name;
  uint32_t stream = 0;
  uint64_t number = 0;
  SharedKnown known;                // when it begins
  uint64_t own = 0;                 // of its own stream: everything below this
  bool overlaps = false, waited = false;
  uint64_t hole_begin = 0, hole_end = 0;  // what it does not know even when the kernel in front has ended, since that one did not wait
};

// A new operation; its id. in_front: that which it overlaps, or 0.
uint32_t add_operation(const std::string& name, uint32_t stream, uint64_t number, SharedKnown known, uint32_t in_front);
void in_front_ended(uint32_t operation, uint32_t in_front);
const Operation& operation(uint32_t id);
Operation& changing_operation(uint32_t id);
// Whether all of `earlier` is complete for `later`; waited: in a thread that knows that the kernel in front has ended.
bool is_ordered(uint32_t earlier, uint32_t later, bool waited);

// Copies and fills of the host's.
std::string operation_reads(uint32_t operation, const void* address, size_t bytes);  // what it races with, or nothing
std::string operation_writes(uint32_t operation, const void* address, size_t bytes);
// The memory is free.
void forget_memory(const void* address, size_t bytes);
void forget_everything();
void forget_history();         // of operations and epochs, which nobody may ask for any more
void forget_if_much();         // between operations: numbers of epochs are finite

// Epochs
enum class Actor : uint32_t { kThread, kCopies, kWarpReads, kEngine };  // kEngine: the copy engine or wgmma, which need fences
struct EpochInfo {
  uint32_t group, component, count;
  Actor actor;
  uint32_t owner;  // the component of the thread that set it off
};
constexpr uint32_t kChunk = 4096;
uint32_t new_epoch(LaunchClocks&, const EpochInfo&);
uint32_t operation_of(uint32_t epoch);
const EpochInfo* info_of(uint32_t epoch);  // nullptr: its operation is over

void begin_launch(Launch&, uint32_t operation);
void end_launch(Launch&);

}  // namespace trace
}  // namespace m2::emulator
