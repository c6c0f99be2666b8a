// Everything after the pragma is compiled for AVX-512; what several units share must come before it (simd/inline.h says why).
#if defined(__x86_64__)
#include "cpu/kernels.h"
#include "cpu/simd/inline.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 reports the undefined registers that its own intrinsics begin with
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")
#endif
#include "cpu/simd/avx512.h"

#include "cpu/kernels/all.h"

namespace m2::cpu {
constexpr Kernels kAvx512Kernels = kernels_over<Avx512>();
}
#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
