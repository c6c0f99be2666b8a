#include "emulator/trace/traffic.h"

#include <algorithm>
#include <bitset>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "emulator/control.h"
#include "emulator/device/state.h"

namespace m2::emulator {
namespace trace {

constexpr size_t kSector = 32, kPage = 64 << 10, kSectors = kPage / kSector;

struct Traffic {
  KernelTraffic total;
};

namespace {

struct Sectors {
  uint64_t launch[2] = {0, 0};  // whose sectors these are, read and written
  std::bitset<kSectors> seen[2];
};

struct Counters {
  std::map<std::string, Traffic> kernels;
  std::unordered_map<uint64_t, std::unique_ptr<Sectors>> pages;
  uint64_t launches = 0;
  Sectors* last = nullptr;
  uint64_t last_page = 0;
};

Counters& counters() {
  static Counters* the = new Counters;  // never destroyed: kernels may run while the process ends
  return *the;
}

}  // namespace

void begin_traffic(Launch& launch) {
  Counters& c = counters();
  Traffic& t = c.kernels[launch.kernel->name];
  t.total.kernel = launch.kernel->name;
  t.total.launches++;
  t.total.blocks = std::max<uint64_t>(t.total.blocks, launch.kernel->blocks());
  t.total.threads = std::max<uint64_t>(t.total.threads, launch.kernel->threads());
  t.total.shared = std::max<uint64_t>(t.total.shared, launch.kernel->shared);
  launch.clocks.traffic = &t;
  launch.clocks.launch = ++c.launches;
}

void count_traffic(Launch& launch, const void* address, size_t bytes, bool writes) {
  Counters& c = counters();
  KernelTraffic& total = launch.clocks.traffic->total;
  (writes ? total.written : total.read) += bytes;
  uint64_t& distinct = writes ? total.distinct_written : total.distinct_read;
  const uint64_t first = reinterpret_cast<uintptr_t>(address) / kSector, last = (reinterpret_cast<uintptr_t>(address) + bytes - 1) / kSector;
  for (uint64_t sector = first; sector <= last; sector++) {
    if (!c.last || sector / kSectors != c.last_page) {
      std::unique_ptr<Sectors>& page = c.pages[sector / kSectors];
      if (!page) page = std::make_unique<Sectors>();
      c.last = page.get();
      c.last_page = sector / kSectors;
    }
    if (c.last->launch[writes] != launch.clocks.launch) {
      c.last->launch[writes] = launch.clocks.launch;
      c.last->seen[writes].reset();
    }
    auto bit = c.last->seen[writes][sector % kSectors];
    if (bit) continue;
    bit = true;
    distinct += kSector;
  }
}

}  // namespace trace

std::vector<KernelTraffic> traffic() {
  std::vector<KernelTraffic> all;
  for (const auto& [name, t] : trace::counters().kernels) {
    if (t.total.launches > 0) all.push_back(t.total);
  }
  return all;
}

void forget_traffic() {
  for (auto& [name, t] : trace::counters().kernels) t.total = KernelTraffic{.kernel = name};
}

}  // namespace m2::emulator
