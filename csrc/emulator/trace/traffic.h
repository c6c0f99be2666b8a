// How many bytes of the device's memory each kernel reads and writes, and in how many different sectors of 32 bytes.
#pragma once
#include <cstddef>
#include <cstdint>

namespace m2::emulator {

struct Launch;

namespace trace {

void begin_traffic(Launch&);
void count_traffic(Launch&, const void* address, size_t bytes, bool writes);

}  // namespace trace
}  // namespace m2::emulator
