// Runs kernels: one, or a chain of which each may begin before the one in front of it has ended.
#pragma once
#include <memory>
#include <vector>

#include "emulator/device/state.h"

namespace m2::emulator {

using Launches = std::vector<std::unique_ptr<Launch>>;

// A launch of a seed of its own: order and completion follow from it.
std::unique_ptr<Launch> make_launch(const Kernel&);
// In order; all but the first overlap the one in front. nullptr, or the launch that failed and has the report.
const Launch* run_chain(const Launches&);

}  // namespace m2::emulator
