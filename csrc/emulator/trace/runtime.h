// What the compiler calls for each load and store of code compiled with -fsanitize=thread: our own runtime in place of ThreadSanitizer's.
#pragma once
#include <cstddef>

namespace m2::emulator::trace {

// A plain access. aligned: the type at hand asks for an address that is a multiple of its size.
void plain(const void* address, size_t bytes, bool writes, bool aligned, const void* code);

}  // namespace m2::emulator::trace
