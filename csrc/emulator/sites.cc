// The environment can ask for both, so that a mutation run needs no code:
//   M2_EMULATOR_SITES=FILE         appends "kind file:line kernel" for each site and kernel when they first meet
//   M2_EMULATOR_SKIP=FILE:LINE     that site does nothing; FILE is the end of its path
#include "emulator/sites.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "emulator/control.h"
#include "emulator/device/state.h"

namespace m2::emulator {

std::atomic<bool> watching_sites{false};

namespace {

struct Entry {
  bool skipped = false;
  std::set<std::string> kernels;
};

struct Watch {
  std::mutex mutex;
  std::map<std::tuple<std::string, unsigned, std::string>, Entry> entries;
  std::vector<std::pair<std::string, unsigned>> skipped;
  std::string log;

  bool is_skipped(const std::string& file, unsigned line) const {
    for (const auto& [end, number] : skipped) {
      if (number == line && file.ends_with(end)) return true;
    }
    return false;
  }
};

Watch& watch() {
  static Watch* the = new Watch;
  return *the;
}

void append(const std::string& path, const std::string& line) {
  if (FILE* file = std::fopen(path.c_str(), "a")) {
    std::fputs(line.c_str(), file);
    std::fclose(file);
  }
}

const bool asked_by_environment = [] {
  const char *log = std::getenv("M2_EMULATOR_SITES"), *skip = std::getenv("M2_EMULATOR_SKIP");
  if (log && *log) watch().log = log;
  if (skip && *skip) {
    const std::string text = skip;
    const size_t colon = text.rfind(':');
    if (colon != std::string::npos) watch().skipped.emplace_back(text.substr(0, colon), static_cast<unsigned>(std::atoi(text.c_str() + colon + 1)));
  }
  watching_sites = !watch().log.empty() || !watch().skipped.empty();
  return true;
}();

}  // namespace

bool site_is_skipped(const char* kind, Site site) {
  Watch& w = watch();
  const std::lock_guard lock(w.mutex);
  const auto [place, is_new] = w.entries.try_emplace({site.file, site.line, kind});
  Entry& entry = place->second;
  if (is_new) entry.skipped = w.is_skipped(site.file, site.line);
  const std::string kernel = self ? self->block->group->launch->kernel->name : "the host";
  if (entry.kernels.insert(kernel).second && !w.log.empty()) {
    append(w.log, std::string(kind) + " " + site.file + ":" + std::to_string(site.line) + " " + kernel + "\n");
  }
  return entry.skipped;
}

void watch_sites(bool on) {
  Watch& w = watch();
  const std::lock_guard lock(w.mutex);
  w.entries.clear();
  watching_sites = on || !w.skipped.empty();
}

void skip_site(const std::string& file, unsigned line) {
  Watch& w = watch();
  const std::lock_guard lock(w.mutex);
  w.skipped.emplace_back(file, line);
  w.entries.clear();
  watching_sites = true;
}

void skip_no_sites() {
  Watch& w = watch();
  const std::lock_guard lock(w.mutex);
  w.skipped.clear();
  w.entries.clear();
}

std::vector<SiteUse> sites() {
  Watch& w = watch();
  const std::lock_guard lock(w.mutex);
  std::vector<SiteUse> all;
  for (const auto& [key, entry] : w.entries) {
    all.push_back({std::get<2>(key), std::get<0>(key), std::get<1>(key), {entry.kernels.begin(), entry.kernels.end()}});
  }
  return all;
}

}  // namespace m2::emulator
