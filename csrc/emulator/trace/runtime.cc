// Volatile accesses are relaxed atomics of the scope of the system, as in PTX. Atomic operations on kernels' memory come through language/atomics.h, which
// has told the trace already; here they are only carried out.
#include "emulator/trace/runtime.h"

#include <cstdint>

#include "emulator/trace/trace.h"

using m2::emulator::trace::plain;

namespace {

using m2::emulator::trace::Atomic;
using m2::emulator::trace::Semantics;

void touch_volatile(const void* address, size_t bytes, Atomic kind, const void* code) {
  const m2::emulator::trace::Inside inside(code);
  m2::emulator::trace::atomic(address, bytes, kind, Semantics::kRelaxed);
}

}  // namespace

#define M2_CODE __builtin_return_address(0)
#define M2_ACCESS(bytes)                                                                                        \
  void __tsan_read##bytes(void* p) { plain(p, bytes, false, true, M2_CODE); }                                   \
  void __tsan_write##bytes(void* p) { plain(p, bytes, true, true, M2_CODE); }                                   \
  void __tsan_unaligned_read##bytes(void* p) { plain(p, bytes, false, false, M2_CODE); }                        \
  void __tsan_unaligned_write##bytes(void* p) { plain(p, bytes, true, false, M2_CODE); }                        \
  void __tsan_volatile_read##bytes(void* p) { touch_volatile(p, bytes, Atomic::kLoad, M2_CODE); }               \
  void __tsan_volatile_write##bytes(void* p) { touch_volatile(p, bytes, Atomic::kStore, M2_CODE); }             \
  void __tsan_unaligned_volatile_read##bytes(void* p) { touch_volatile(p, bytes, Atomic::kLoad, M2_CODE); }     \
  void __tsan_unaligned_volatile_write##bytes(void* p) { touch_volatile(p, bytes, Atomic::kStore, M2_CODE); }

#define M2_ATOMIC(bits, T)                                                                                                            \
  T __tsan_atomic##bits##_load(const volatile T* p, int) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }                             \
  void __tsan_atomic##bits##_store(volatile T* p, T v, int) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }                             \
  T __tsan_atomic##bits##_exchange(volatile T* p, T v, int) { return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST); }                   \
  T __tsan_atomic##bits##_fetch_add(volatile T* p, T v, int) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }                   \
  T __tsan_atomic##bits##_fetch_sub(volatile T* p, T v, int) { return __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST); }                   \
  T __tsan_atomic##bits##_fetch_and(volatile T* p, T v, int) { return __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST); }                   \
  T __tsan_atomic##bits##_fetch_or(volatile T* p, T v, int) { return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST); }                     \
  T __tsan_atomic##bits##_fetch_xor(volatile T* p, T v, int) { return __atomic_fetch_xor(p, v, __ATOMIC_SEQ_CST); }                   \
  T __tsan_atomic##bits##_fetch_nand(volatile T* p, T v, int) { return __atomic_fetch_nand(p, v, __ATOMIC_SEQ_CST); }                 \
  int __tsan_atomic##bits##_compare_exchange_strong(volatile T* p, T* expected, T v, int, int) {                                      \
    return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                                    \
  }                                                                                                                                   \
  int __tsan_atomic##bits##_compare_exchange_weak(volatile T* p, T* expected, T v, int, int) {                                        \
    return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                                    \
  }                                                                                                                                   \
  T __tsan_atomic##bits##_compare_exchange_val(volatile T* p, T expected, T v, int, int) {                                            \
    __atomic_compare_exchange_n(p, &expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                                          \
    return expected;                                                                                                                  \
  }

extern "C" {

M2_ACCESS(1)
M2_ACCESS(2)
M2_ACCESS(4)
M2_ACCESS(8)
M2_ACCESS(16)
M2_ATOMIC(8, uint8_t)
M2_ATOMIC(16, uint16_t)
M2_ATOMIC(32, uint32_t)
M2_ATOMIC(64, uint64_t)

void __tsan_read_range(void* p, size_t bytes) { plain(p, bytes, false, false, M2_CODE); }
void __tsan_write_range(void* p, size_t bytes) { plain(p, bytes, true, false, M2_CODE); }
void __tsan_vptr_read(void**) {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
void __tsan_atomic_signal_fence(int) {}

}  // extern "C"
