// Faults of kernels: a load or store that hits a guard page, a null pointer or a misaligned vector ends the launch, not the process.
#pragma once

namespace m2::emulator {

// On this thread, before it runs fibers. Signals that are not a kernel's go on to whoever handled them before.
void catch_faults();

}  // namespace m2::emulator
