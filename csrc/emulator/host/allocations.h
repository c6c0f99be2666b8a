// Memory of the device, and the host's pinned memory. Each allocation lies between pages that fault, its end right in front of one (up to the alignment
// of 256 bytes, and those bytes are watched), and begins as 0xff: NaN, or -1. What is freed stays reserved and faults. With AddressSanitizer allocations
// are heap blocks instead.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "emulator/site.h"

namespace m2::emulator {

enum class Place { kDevice, kPinned };

struct Allocation {
  uint8_t* data;
  size_t bytes;
  Place place;
  Site site;
  uint64_t number;     // counts up with each allocation
  uint8_t* mapping;    // nullptr: a heap block
  size_t mapped;
};

class Allocations {
 public:
  // nullptr: the host has no such memory.
  Allocation* add(size_t bytes, Place, Site);
  // False: no allocation of that place begins there.
  bool remove(void* data, Place);
  // The one that holds all of the bytes, or nullptr.
  const Allocation* find(const void* data, size_t bytes) const;
  // In words, for a report: what there is near an address.
  std::string describe(const void* address) const;
  // An allocation whose watched bytes were written to, or nullptr.
  const Allocation* damaged() const;
  const std::vector<Allocation>& all() const { return live_; }
  size_t device_bytes() const { return device_bytes_; }
  void clear();

 private:
  std::vector<Allocation>::const_iterator at_or_before(const void* data) const;
  void release(const Allocation&);

  std::vector<Allocation> live_;   // by address
  std::vector<Allocation> freed_;  // mappings still reserved, the oldest first
  size_t device_bytes_ = 0;
  uint64_t count_ = 0;
};

Allocations& allocations();

}  // namespace m2::emulator
