// What the three SIMD wrappers start from. Everything in simd/ and kernels/ is compiled once per instruction set, after a target pragma: it must be a
// template over the wrapper or always inlined, and use no templates of the standard library, or the linker might pick a copy of a shared function
// that the machine cannot run.
#pragma once
#include <cstdint>

#include "core/dtype.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define M2_INLINE inline __attribute__((always_inline))
#define M2_INLINE_LAMBDA __attribute__((always_inline))
