// Built-in variables and functions of the device language.
#pragma once
#include <cstring>
#include <type_traits>

#include "emulator/instructions.h"
#include "emulator/language/vector_types.h"

// Set at each switch to a thread. Static thread-local storage, since a kernel reads them all the time.
#define M2_BUILTIN_VARIABLE extern constinit thread_local __attribute__((tls_model("initial-exec")))
M2_BUILTIN_VARIABLE uint3 threadIdx;
M2_BUILTIN_VARIABLE uint3 blockIdx;
M2_BUILTIN_VARIABLE dim3 blockDim;
M2_BUILTIN_VARIABLE dim3 gridDim;
#undef M2_BUILTIN_VARIABLE
constexpr int warpSize = 32;

inline void __syncthreads(m2::emulator::Site site = m2::emulator::Site::here()) { m2::emulator::barrier_sync(0, 0, site); }
inline int __syncthreads_count(int predicate, m2::emulator::Site site = m2::emulator::Site::here()) {
  return m2::emulator::barrier_reduce(m2::emulator::BarrierReduction::kCount, predicate, site);
}
inline int __syncthreads_and(int predicate, m2::emulator::Site site = m2::emulator::Site::here()) {
  return m2::emulator::barrier_reduce(m2::emulator::BarrierReduction::kAnd, predicate, site);
}
inline int __syncthreads_or(int predicate, m2::emulator::Site site = m2::emulator::Site::here()) {
  return m2::emulator::barrier_reduce(m2::emulator::BarrierReduction::kOr, predicate, site);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, m2::emulator::Site site = m2::emulator::Site::here()) { m2::emulator::sync_warp(mask, site); }

inline void __threadfence_block(m2::emulator::Site site = m2::emulator::Site::here()) { m2::emulator::fence(m2::emulator::Scope::kBlock, site); }
inline void __threadfence(m2::emulator::Site site = m2::emulator::Site::here()) { m2::emulator::fence(m2::emulator::Scope::kDevice, site); }
inline void __threadfence_system(m2::emulator::Site site = m2::emulator::Site::here()) { m2::emulator::fence(m2::emulator::Scope::kSystem, site); }

namespace m2::emulator {

template <class T>
inline T shuffle_value(unsigned mask, T value, Shuffle kind, int argument, int width) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = shuffle(mask, bits, kind, argument, width);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace m2::emulator

template <class T>
inline T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
  return m2::emulator::shuffle_value(mask, value, m2::emulator::Shuffle::kIndex, lane, width);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  return m2::emulator::shuffle_value(mask, value, m2::emulator::Shuffle::kUp, static_cast<int>(delta), width);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  return m2::emulator::shuffle_value(mask, value, m2::emulator::Shuffle::kDown, static_cast<int>(delta), width);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32) {
  return m2::emulator::shuffle_value(mask, value, m2::emulator::Shuffle::kXor, lane_mask, width);
}

inline unsigned __ballot_sync(unsigned mask, int predicate) { return m2::emulator::ballot(mask, predicate); }
inline int __any_sync(unsigned mask, int predicate) { return m2::emulator::ballot(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return m2::emulator::ballot(mask, !predicate) == 0; }
template <class T>
inline unsigned __match_any_sync(unsigned mask, T value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return m2::emulator::match_any(mask, bits);
}
template <class T>
inline unsigned __match_all_sync(unsigned mask, T value, int* equal) {
  *equal = __match_any_sync(mask, value) == mask;
  return *equal ? mask : 0;
}

inline unsigned __reduce_add_sync(unsigned mask, unsigned value) { return m2::emulator::reduce(mask, value, m2::emulator::Reduction::kAddU32); }
inline unsigned __reduce_min_sync(unsigned mask, unsigned value) { return m2::emulator::reduce(mask, value, m2::emulator::Reduction::kMinU32); }
inline unsigned __reduce_max_sync(unsigned mask, unsigned value) { return m2::emulator::reduce(mask, value, m2::emulator::Reduction::kMaxU32); }
inline int __reduce_add_sync(unsigned mask, int value) {
  return static_cast<int>(m2::emulator::reduce(mask, static_cast<unsigned>(value), m2::emulator::Reduction::kAddU32));
}
inline int __reduce_min_sync(unsigned mask, int value) {
  return static_cast<int>(m2::emulator::reduce(mask, static_cast<unsigned>(value), m2::emulator::Reduction::kMinS32));
}
inline int __reduce_max_sync(unsigned mask, int value) {
  return static_cast<int>(m2::emulator::reduce(mask, static_cast<unsigned>(value), m2::emulator::Reduction::kMaxS32));
}
inline unsigned __reduce_and_sync(unsigned mask, unsigned value) { return m2::emulator::reduce(mask, value, m2::emulator::Reduction::kAnd); }
inline unsigned __reduce_or_sync(unsigned mask, unsigned value) { return m2::emulator::reduce(mask, value, m2::emulator::Reduction::kOr); }
inline unsigned __reduce_xor_sync(unsigned mask, unsigned value) { return m2::emulator::reduce(mask, value, m2::emulator::Reduction::kXor); }

// Cache hints say nothing about what is read or written.
template <class T> inline T __ldg(const T* p) { return *p; }
template <class T> inline T __ldca(const T* p) { return *p; }
template <class T> inline T __ldcg(const T* p) { return *p; }
template <class T> inline T __ldcs(const T* p) { return *p; }
template <class T> inline T __ldlu(const T* p) { return *p; }
template <class T> inline T __ldcv(const T* p) { return *p; }
template <class T> inline void __stwb(T* p, std::type_identity_t<T> value) { *p = value; }
template <class T> inline void __stcg(T* p, std::type_identity_t<T> value) { *p = value; }
template <class T> inline void __stcs(T* p, std::type_identity_t<T> value) { *p = value; }
template <class T> inline void __stwt(T* p, std::type_identity_t<T> value) { *p = value; }

inline void __nanosleep(unsigned) { m2::emulator::sleep(); }
inline long long clock64() { return m2::emulator::device_clock(); }
[[noreturn]] inline void __trap() { m2::emulator::fail("__trap()"); }
inline size_t __cvta_generic_to_shared(const void* p) { return m2::emulator::shared_address(p); }
