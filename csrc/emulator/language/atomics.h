// Atomic functions. Blocks may run on several of the host's threads, so these are the host's own atomic operations.
#pragma once
#include <cstring>
#include <type_traits>

#include "emulator/instructions.h"
#include "emulator/language/narrow_floats.h"

namespace m2::emulator {

template <class T, class... Allowed>
inline constexpr bool is_one_of = (std::is_same_v<T, Allowed> || ...);

// *address = change(*address); what was there before.
template <class T, class Change>
inline T atomic_change(T* address, Change change) {
  using Bits = std::conditional_t<sizeof(T) == 2, uint16_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>>;
  static_assert(sizeof(T) == sizeof(Bits));
  before_atomic(address, sizeof(T));
  Bits* place = reinterpret_cast<Bits*>(address);
  Bits old = __atomic_load_n(place, __ATOMIC_SEQ_CST);
  while (!__atomic_compare_exchange_n(place, &old, bit_copy<Bits>(change(bit_copy<T>(old))), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
  }
  return bit_copy<T>(old);
}

}  // namespace m2::emulator

#define M2_ATOMIC(name, expression, ...)                                                         \
  template <class T>                                                                             \
  inline T name(T* address, std::type_identity_t<T> value) {                                     \
    static_assert(m2::emulator::is_one_of<T, __VA_ARGS__>, #name " has no overload for this type"); \
    return m2::emulator::atomic_change(address, [value](T old) -> T { return expression; });     \
  }
M2_ATOMIC(atomicAdd, old + value, int, unsigned, unsigned long long, float, double)
M2_ATOMIC(atomicSub, old - value, int, unsigned)
M2_ATOMIC(atomicExch, (static_cast<void>(old), value), int, unsigned, unsigned long long, float)
M2_ATOMIC(atomicMin, old < value ? old : value, int, unsigned, unsigned long long, long long)
M2_ATOMIC(atomicMax, old > value ? old : value, int, unsigned, unsigned long long, long long)
M2_ATOMIC(atomicAnd, old & value, int, unsigned, unsigned long long)
M2_ATOMIC(atomicOr, old | value, int, unsigned, unsigned long long)
M2_ATOMIC(atomicXor, old ^ value, int, unsigned, unsigned long long)
M2_ATOMIC(atomicInc, old >= value ? 0u : old + 1, unsigned)
M2_ATOMIC(atomicDec, old == 0 || old > value ? value : old - 1, unsigned)
#undef M2_ATOMIC

template <class T>
inline T atomicCAS(T* address, std::type_identity_t<T> compare, std::type_identity_t<T> value) {
  static_assert(m2::emulator::is_one_of<T, unsigned short, int, unsigned, unsigned long long>, "atomicCAS has no overload for this type");
  return m2::emulator::atomic_change(address, [compare, value](T old) { return old == compare ? value : old; });
}
