// Shared memory: blocks of the running thread's block, found by name. A static array is known by the address of a key of its own, one per array and
// instance of a kernel template.
#pragma once
#include <cstdint>

#include "emulator/instructions.h"

#define M2_DYNAMIC_SHARED(name) uint8_t* name = static_cast<uint8_t*>(::m2::emulator::dynamic_shared())
#define M2_SHARED(T, name, ...)        \
  static const char name##_key = 0;    \
  using name##_type = T __VA_ARGS__;   \
  name##_type& name = *static_cast<name##_type*>(::m2::emulator::static_shared(&name##_key, #name, sizeof(name##_type), alignof(T)))
