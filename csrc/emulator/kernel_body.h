// A kernel and a copy of its arguments, and how to call it. The arguments are moved to the calling thread's own stack first: there the kernel's code reads
// them, as it would its parameters.
#pragma once
#include <cstddef>
#include <memory>

namespace m2::emulator {

struct KernelBody {
  std::shared_ptr<const void> arguments;
  void (*call)(const void* arguments) = nullptr;

  void operator()() const { call(arguments.get()); }
};

void copy_arguments(void* to, const void* from, size_t bytes);

}  // namespace m2::emulator
