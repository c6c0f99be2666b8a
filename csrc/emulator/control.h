// What tests ask of the emulated device beside CUDA's own calls.
#pragma once
#include <string>
#include <vector>

#include "emulator/host/types.h"
#include "emulator/settings.h"

namespace m2::emulator {

// What went wrong last: kernel, block, thread, seed and what. Empty: nothing since the last reset.
std::string last_report();
// Forgets everything: queued work, streams, allocations, the error that stuck. What had not been freed or destroyed, one line each.
std::vector<std::string> reset_device();
// The nth runtime call from now (1: the next one) fails with this error, as if the device had said so; an error of a kind that sticks, sticks.
void fail_call(unsigned nth, cudaError_t error);

// Sites: each call of a barrier, wait, fence, arrival or commit in the sources of kernels, and of the host's waits.
struct SiteUse {
  std::string kind, file;
  unsigned line;
  std::vector<std::string> kernels;
};
void watch_sites(bool on);
std::vector<SiteUse> sites();  // met since watching began or skips changed
// The calls that stand there do nothing. file: the end of its path.
void skip_site(const std::string& file, unsigned line);
void skip_no_sites();

#ifdef M2_TRACED
// What kernels of a name moved in all their launches: bytes asked for, and bytes of the different sectors (of 32) of each launch. And their largest launch:
// blocks, threads of a block, bytes of dynamic shared memory.
struct KernelTraffic {
  std::string kernel;
  uint64_t launches = 0, read = 0, written = 0, distinct_read = 0, distinct_written = 0, blocks = 0, threads = 0, shared = 0;
};
std::vector<KernelTraffic> traffic();
void forget_traffic();
#endif

}  // namespace m2::emulator
