// Runs a kernel's groups, on this thread or on several.
#pragma once
#include "emulator/device/state.h"

namespace m2::emulator {

// A launch of its own seed: order and completion follow from it.
void begin_launch(Launch&, const Kernel&);
// False: it failed, and the launch has the report.
bool run_launch(Launch&);

}  // namespace m2::emulator
