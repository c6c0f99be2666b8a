// What this machine can do at best, for the shares that bench/ prints: measured with loops that do nothing else, on the same threads and instructions.
#pragma once
#include <cstddef>

namespace m2::cpu {

// Bytes per second read from a buffer of so many bytes (take several times the last-level cache), the best of a few passes. threads: 0 for physical cores.
double read_bandwidth(size_t bytes, int threads);

// Floating point operations per second of the instruction that matrix products use: vdpbf16ps, or FMA where there is none. threads as above.
double arithmetic_peak(int threads);

}  // namespace m2::cpu
