// What the three SIMD wrappers start from. Everything in simd/ and kernels/ is compiled once per instruction set, after a target pragma: it must be a
// template over the wrapper or always inlined, and use no templates of the standard library, or the linker might pick a copy of a shared function
// that the machine cannot run.
#pragma once
#include <cstdint>

#include "core/weight.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace m2::cpu {

// What the bytes 0 .. 127 of f8 mean.
struct F8Magnitudes {
  float values[128];
  constexpr F8Magnitudes() : values() {
    float step = 0x1p-9f;  // between neighbours
    for (int i = 1; i < 127; i++) {
      if (i >= 16 && i % 8 == 0) step *= 2;
      values[i] = static_cast<float>(i < 8 ? i : 8 + i % 8) * step;
    }
    values[127] = __builtin_nanf("");
  }
};
inline constexpr F8Magnitudes kF8Magnitudes;

}  // namespace m2::cpu

#define M2_INLINE inline __attribute__((always_inline))
#define M2_INLINE_LAMBDA __attribute__((always_inline))
