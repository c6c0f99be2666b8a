// Which sanitizer this is built with; and the hooks of AddressSanitizer and ThreadSanitizer for fibers.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define M2_ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define M2_ASAN 0
#endif

// With M2_TRACED the kernels' memory accesses are our own business (trace/), not ThreadSanitizer's, though the compiler flag is the same.
#if defined(__SANITIZE_THREAD__) && !defined(M2_TRACED)
#define M2_TSAN 1
#include <sanitizer/tsan_interface.h>
#else
#define M2_TSAN 0
#endif
