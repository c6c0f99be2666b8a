#include "emulator/trace/clocks.h"

#include <algorithm>

namespace m2::emulator::trace {
namespace {

constexpr size_t kMostNewer = 96;

uint32_t in_base(const Snapshot& base, uint32_t component) { return base && component < base->size() ? (*base)[component] : 0; }

void raise(Counts& counts, const Counts& other) {
  if (counts.size() < other.size()) counts.resize(other.size());
  for (size_t i = 0; i < other.size(); i++) counts[i] = std::max(counts[i], other[i]);
}

// Threads of a warp learn the same one after another: the last union is kept.
Snapshot united(const Snapshot& a, const Snapshot& b) {
  static Snapshot last_a, last_b, last;
  if (a == last_a && b == last_b) return last;
  auto counts = std::make_shared<Counts>(*a);
  raise(*counts, *b);
  last_a = a;
  last_b = b;
  return last = std::move(counts);
}

}  // namespace

uint32_t Knowledge::of(uint32_t component) const {
  const auto found = std::lower_bound(newer_.begin(), newer_.end(), std::pair(component, uint32_t{0}));
  return found != newer_.end() && found->first == component ? found->second : in_base(base_, component);
}

void Knowledge::learn(uint32_t component, uint32_t count) {
  const auto found = std::lower_bound(newer_.begin(), newer_.end(), std::pair(component, uint32_t{0}));
  if (found != newer_.end() && found->first == component) {
    found->second = std::max(found->second, count);
  } else if (count > in_base(base_, component)) {
    newer_.insert(found, {component, count});
    if (newer_.size() > kMostNewer) flatten();
  }
}

void Knowledge::flatten() {
  auto counts = base_ ? std::make_shared<Counts>(*base_) : std::make_shared<Counts>();
  if (counts->size() <= newer_.back().first) counts->resize(newer_.back().first + 1);
  for (const auto& [component, count] : newer_) (*counts)[component] = std::max((*counts)[component], count);
  become(std::move(counts));
}

void Knowledge::learn(const Snapshot& snapshot) {
  if (!snapshot || snapshot == base_) return;
  base_ = base_ ? united(base_, snapshot) : snapshot;
  std::erase_if(newer_, [this](const auto& entry) { return entry.second <= in_base(base_, entry.first); });
}

void Knowledge::learn(const Knowledge& other) {
  learn(other.base_);
  for (const auto& [component, count] : other.newer_) learn(component, count);
}

uint32_t Clock::of(bool is_own, uint32_t group, uint32_t component) const {
  if (is_own) return own.of(component);
  if (!others) return 0;
  const auto found = others->find(group);
  return found == others->end() ? 0 : found->second.of(component);
}

void Gathering::merge(const Counts& counts) {
  snapshot_ = nullptr;
  raise(counts_, counts);
}

void Gathering::add(uint32_t component, uint32_t count) {
  if (component >= counts_.size()) counts_.resize(component + 1);
  if (counts_[component] >= count) return;
  counts_[component] = count;
  snapshot_ = nullptr;
}

void Gathering::add(const Knowledge& knowledge) {
  if (knowledge.base_ && std::find(merged_.begin(), merged_.end(), knowledge.base_) == merged_.end()) {
    merge(*knowledge.base_);
    merged_.push_back(knowledge.base_);
    if (merged_.size() > 8) merged_.erase(merged_.begin());
  }
  for (const auto& [component, count] : knowledge.newer_) add(component, count);
}

const Snapshot& Gathering::snapshot() {
  if (!snapshot_) snapshot_ = std::make_shared<Counts>(counts_);
  return snapshot_;
}

Gathering& SyncPoint::part(uint32_t group) {
  for (auto& [of, gathering] : parts_) {
    if (of == group) return gathering;
  }
  return parts_.emplace_back(group, Gathering()).second;
}

void SyncPoint::add(uint32_t group, const Clock& clock) {
  if (!clock.own.is_empty()) part(group).add(clock.own);
  if (!clock.others) return;
  for (const auto& [other, knowledge] : *clock.others) part(other).add(knowledge);
}

Message SyncPoint::message() {
  auto message = std::make_shared<std::vector<std::pair<uint32_t, Snapshot>>>();
  for (auto& [group, gathering] : parts_) message->emplace_back(group, gathering.snapshot());
  return message;
}

namespace {

void learn_of_others(Clock& clock, uint32_t group, const Message& message) {
  if (message->size() == 1 && message->front().first == group) return;
  auto others = clock.others ? std::make_shared<std::map<uint32_t, Knowledge>>(*clock.others) : std::make_shared<std::map<uint32_t, Knowledge>>();
  for (const auto& [of, snapshot] : *message) {
    if (of != group) (*others)[of].learn(snapshot);
  }
  if (!others->empty()) clock.others = std::move(others);
}

const Snapshot* part_of(const Message& message, uint32_t group) {
  for (const auto& [of, snapshot] : *message) {
    if (of == group) return &snapshot;
  }
  return nullptr;
}

}  // namespace

void learn(Clock& clock, uint32_t group, const Message& message) {
  if (const Snapshot* own = part_of(message, group)) clock.own.learn(*own);
  learn_of_others(clock, group, message);
}

void learn(Clock& clock, const Clock& other) {
  clock.own.learn(other.own);
  if (!other.others || other.others == clock.others) return;
  auto others = clock.others ? std::make_shared<std::map<uint32_t, Knowledge>>(*clock.others) : std::make_shared<std::map<uint32_t, Knowledge>>();
  for (const auto& [group, knowledge] : *other.others) (*others)[group].learn(knowledge);
  clock.others = std::move(others);
}

void become(Clock& clock, uint32_t group, const Message& message) {
  if (const Snapshot* own = part_of(message, group)) clock.own.become(*own);
  learn_of_others(clock, group, message);
}

}  // namespace m2::emulator::trace
