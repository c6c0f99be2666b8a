// "gemm.cu:88" for an address of code, as far as this machine can tell.
#pragma once
#include <string>

namespace m2::emulator {

std::string source_line(const void* pc);

}  // namespace m2::emulator
