// The sites that device code was at, and those that are to do nothing. Looked at only while somebody wants to know.
#pragma once
#include <atomic>

#include "emulator/site.h"

namespace m2::emulator {

extern std::atomic<bool> watching_sites;
// Notes that this kernel was at the site; whether the call is to do nothing.
bool site_is_skipped(const char* kind, Site);

inline bool skips(const char* kind, Site site) { return watching_sites.load(std::memory_order_relaxed) && site_is_skipped(kind, site); }

}  // namespace m2::emulator
