#include "emulator/host/allocations.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "emulator/device/memory.h"
#include "emulator/device/sanitizers.h"
#include "emulator/device/scheduler.h"
#include "emulator/instructions.h"
#include "emulator/settings.h"

namespace m2::emulator {
namespace {

constexpr size_t kAlignment = 256, kGuard = 64 << 10, kBlank = 4 << 20, kKeptFreed = 4096;
constexpr uint8_t kPoison = 0xff, kUntouched = 0xa7;

constexpr size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

// A file in memory of nothing but 0xff. Large allocations are private mappings of it, again and again, so that they cost memory only where written.
int blank_file() {
  static const int file = [] {
    const int f = memfd_create("m2-emulator-blank", MFD_CLOEXEC);
    if (f < 0) return -1;
    const std::vector<uint8_t> blank(kBlank, kPoison);
    return write(f, blank.data(), kBlank) == static_cast<ssize_t>(kBlank) ? f : -1;
  }();
  return file;
}

bool fill_with_blanks(uint8_t* data, size_t bytes) {
  for (size_t done = 0; done < bytes; done += kBlank) {
    const size_t part = std::min(kBlank, bytes - done);
    if (mmap(data + done, part, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, blank_file(), 0) == MAP_FAILED) return false;
  }
  return true;
}

size_t watched_in_front(const Allocation& a) { return std::min<size_t>(static_cast<size_t>(a.data - (a.mapping + kGuard)), kAlignment); }

bool map(Allocation& a) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE)), used = round_up(round_up(std::max<size_t>(a.bytes, 1), kAlignment), page);
  a.mapped = used + 2 * kGuard;
  void* mapping = mmap(nullptr, a.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) return false;
  a.mapping = static_cast<uint8_t*>(mapping);
  uint8_t* first = a.mapping + kGuard;
  if (used >= kBlank && blank_file() >= 0) {
    if (!fill_with_blanks(first, used)) return munmap(mapping, a.mapped), false;
  } else {
    if (mprotect(first, used, PROT_READ | PROT_WRITE) != 0) return munmap(mapping, a.mapped), false;
    std::memset(first, kPoison, used);
  }
  a.data = first + used - round_up(std::max<size_t>(a.bytes, 1), kAlignment);
  std::memset(a.data - watched_in_front(a), kUntouched, watched_in_front(a));
  std::memset(a.data + a.bytes, kUntouched, static_cast<size_t>(first + used - (a.data + a.bytes)));
  return true;
}

}  // namespace

Allocations& allocations() {
  static Allocations* all = new Allocations;
  return *all;
}

std::vector<Allocation>::const_iterator Allocations::at_or_before(const void* data) const {
  const auto after = std::upper_bound(live_.begin(), live_.end(), data, [](const void* p, const Allocation& a) { return p < a.data; });
  return after == live_.begin() ? live_.end() : after - 1;
}

Allocation* Allocations::add(size_t bytes, Place place, Site site) {
  Allocation a{nullptr, bytes, place, site, ++count_, nullptr, 0};
  if (M2_ASAN) {
    void* memory = nullptr;
    if (posix_memalign(&memory, kAlignment, std::max<size_t>(bytes, 1)) != 0) return nullptr;
    std::memset(memory, kPoison, bytes);
    a.data = static_cast<uint8_t*>(memory);
  } else if (!map(a)) {
    return nullptr;
  }
  if (place == Place::kDevice) device_bytes_ += bytes;
  const auto where = std::upper_bound(live_.begin(), live_.end(), a.data, [](const uint8_t* p, const Allocation& other) { return p < other.data; });
  return &*live_.insert(where, a);
}

bool Allocations::remove(void* data, Place place) {
  const auto found = at_or_before(data);
  if (found == live_.end() || found->data != data || found->place != place) return false;
  if (place == Place::kDevice) device_bytes_ -= found->bytes;
  const Allocation a = *found;
  live_.erase(found);
  if (!a.mapping) {
    free(a.data);
    return true;
  }
  mmap(a.mapping, a.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  freed_.push_back(a);
  if (freed_.size() > kKeptFreed) {
    release(freed_.front());
    freed_.erase(freed_.begin());
  }
  return true;
}

void Allocations::release(const Allocation& a) {
  if (a.mapping) munmap(a.mapping, a.mapped);
  else free(a.data);
}

const Allocation* Allocations::find(const void* data, size_t bytes) const {
  const auto found = at_or_before(data);
  if (found == live_.end()) return nullptr;
  const size_t offset = static_cast<size_t>(static_cast<const uint8_t*>(data) - found->data);
  return offset <= found->bytes && bytes <= found->bytes - offset ? &*found : nullptr;
}

namespace {

std::string in_words(const Allocation& a) {
  return std::to_string(a.bytes) + (a.place == Place::kDevice ? " bytes of the device" : " pinned bytes") + " (allocated at " + a.site.file + ":" +
         std::to_string(a.site.line) + ")";
}

}  // namespace

std::string Allocations::describe(const void* address) const {
  const uint8_t* p = static_cast<const uint8_t*>(address);
  if (reinterpret_cast<uintptr_t>(p) < 4096) return "a null pointer";
  for (const Allocation& a : live_) {
    if (p >= a.data && p < a.data + a.bytes) return std::to_string(p - a.data) + " bytes into " + in_words(a);
    if (!a.mapping || p < a.mapping || p >= a.mapping + a.mapped) continue;
    if (p < a.data) return std::to_string(a.data - p) + " bytes in front of " + in_words(a);
    return std::to_string(p - (a.data + a.bytes)) + " bytes behind the end of " + in_words(a);
  }
  for (auto a = freed_.rbegin(); a != freed_.rend(); ++a) {
    if (a->mapping && p >= a->mapping && p < a->mapping + a->mapped) return "in memory that was freed: " + in_words(*a);
  }
  return "in no allocation of the device";
}

const Allocation* Allocations::damaged() const {
  for (const Allocation& a : live_) {
    if (!a.mapping) continue;
    const uint8_t *data = a.data, *end = data + round_up(std::max<size_t>(a.bytes, 1), kAlignment);
    const auto untouched = [](uint8_t byte) { return byte == kUntouched; };
    if (!std::all_of(data + a.bytes, end, untouched) || !std::all_of(data - watched_in_front(a), data, untouched)) return &a;
  }
  return nullptr;
}

void Allocations::clear() {
  for (const Allocation& a : live_) release(a);
  for (const Allocation& a : freed_) release(a);
  live_.clear();
  freed_.clear();
  device_bytes_ = 0;
}

void check_global(const void* address, size_t bytes, size_t alignment, const char* what) {
  if (reinterpret_cast<uintptr_t>(address) % alignment != 0) fail("%s: global address %p is not aligned to %zu bytes", what, address, alignment);
  if (allocations().find(address, bytes)) return;
  char text[160];
  std::snprintf(text, sizeof text, "%s: %zu bytes at %p: ", what, bytes, address);
  fail_with(text + allocations().describe(address));
}

size_t shared_limit() { return settings().shared_per_block(); }

}  // namespace m2::emulator
