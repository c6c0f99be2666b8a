// Memory as the modelled instructions reach it, checked.
#pragma once
#include <cstddef>
#include <cstdint>

namespace m2::emulator {

// Bytes at a shared address of this block or another one of its cluster. The launch fails where they are misaligned or outside.
uint8_t* shared_bytes(uint32_t address, size_t bytes, size_t alignment, const char* what);
// The launch fails where the bytes are misaligned or not all in one allocation of the device.
void check_global(const void* address, size_t bytes, size_t alignment, const char* what);
// What a block can have of shared memory.
size_t shared_limit();
// The launch fails on a device older than sm_90.
void needs_hopper(const char* what);
const float* e4m3_values();  // of the 256 bytes

}  // namespace m2::emulator
