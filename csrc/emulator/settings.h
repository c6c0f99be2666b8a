// What the emulated device is and how it behaves, from the environment when it is first asked for:
//   M2_EMULATOR_SEED             0: threads in order, asynchronous operations as late as they may; others draw both by chance
//   M2_EMULATOR_THREADS          how many of the host's threads run blocks (default: its cores, at most 4)
//   M2_EMULATED_ARCH             80 or 90
//   M2_EMULATED_MEMORY           bytes of device memory (default 4 GiB)
//   M2_EMULATED_MULTIPROCESSORS  default 4
//   M2_EMULATOR_FAIL             n: the device is lost at the nth call of the runtime
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace m2::emulator {

struct Settings {
  uint64_t seed = 0;
  unsigned threads = 1;
  int architecture = 90;
  size_t memory = size_t{4} << 30;
  int multiprocessors = 4;
  unsigned fail = 0;  // 0: never
  std::string mistake;  // in the environment: there is no device then

  size_t shared_per_block() const { return architecture >= 90 ? 227 << 10 : 163 << 10; }
  size_t shared_per_multiprocessor() const { return architecture >= 90 ? 228 << 10 : 164 << 10; }
};

Settings& settings();

}  // namespace m2::emulator
