// Everything after the pragma is compiled for AVX2; what several units share must come before it (simd/inline.h says why).
#if defined(__x86_64__)
#include "cpu/kernels.h"
#include "cpu/simd/inline.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif
#include "cpu/simd/avx2.h"

#include "cpu/kernels/all.h"

namespace m2::cpu {
constexpr Kernels kAvx2Kernels = kernels_over<Avx2>();
}
#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
