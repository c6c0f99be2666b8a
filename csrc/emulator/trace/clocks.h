// Vector clocks. Whoever can access memory on its own is a component of its group of blocks: component 0 stands for the kernel in front, then come the
// threads, then engines: asynchronous copies and products under way. A component counts up whenever others may learn of what it did; knowing its count
// is knowing all that it did up to there.
//
// After a barrier all threads know the same, so knowledge is a shared snapshot of counts and the few that are newer: one vector for a block and not one
// for each thread.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace m2::emulator::trace {

using Counts = std::vector<uint32_t>;
using Snapshot = std::shared_ptr<const Counts>;

// What somebody knows of one group.
class Knowledge {
 public:
  uint32_t of(uint32_t component) const;
  void learn(uint32_t component, uint32_t count);
  void learn(const Snapshot&);
  void learn(const Knowledge&);
  // Exactly this: for somebody whose knowledge is part of it.
  void become(const Snapshot& all) {
    base_ = all;
    newer_.clear();
  }
  bool is_empty() const { return !base_ && newer_.empty(); }

 private:
  friend class Gathering;
  void flatten();

  Snapshot base_;
  std::vector<std::pair<uint32_t, uint32_t>> newer_;  // (component, count) beyond the base, by component
};

// A thread's clock: of its own group, and of others that it has heard of through atomics.
struct Clock {
  Knowledge own;
  std::shared_ptr<const std::map<uint32_t, Knowledge>> others;  // by group

  uint32_t of(bool is_own, uint32_t group, uint32_t component) const;
};

// Where several put their knowledge together, of one group.
class Gathering {
 public:
  void add(const Knowledge&);
  void add(uint32_t component, uint32_t count);
  const Snapshot& snapshot();  // of all so far

 private:
  void merge(const Counts&);

  Counts counts_;
  std::vector<Snapshot> merged_;  // bases that are in it already
  Snapshot snapshot_;
};

// What a barrier or an atomic variable hands on: gathered, and when it is complete, learnt.
using Message = std::shared_ptr<const std::vector<std::pair<uint32_t, Snapshot>>>;  // by group

class SyncPoint {
 public:
  void add(uint32_t group, const Clock&);
  void add(uint32_t group, uint32_t component, uint32_t count) { part(group).add(component, count); }
  Message message();
  void clear() { parts_.clear(); }
  bool is_empty() const { return parts_.empty(); }

 private:
  Gathering& part(uint32_t group);

  std::vector<std::pair<uint32_t, Gathering>> parts_;
};

void learn(Clock&, uint32_t group, const Message&);
void learn(Clock&, const Clock& other);  // of the same group
// As learn(), where the clock is known to be part of the message.
void become(Clock&, uint32_t group, const Message&);

}  // namespace m2::emulator::trace
