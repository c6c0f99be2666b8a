// What every .cu file is written in: CUDA's own headers, or the emulator's of the same names, and the few words in which two compilers differ.
//
//   M2_DYNAMIC_SHARED(name)          uint8_t* name: the block's dynamic shared memory, aligned to 1024 bytes
//   M2_SHARED(T, name, [n][m]..)     a static shared array
//   M2_HOPPER                        1 where what is Hopper's alone is compiled: for sm_90a, and the emulator. Elsewhere such kernels are empty
//
// Rules for kernels (csrc/emulator runs them on the CPU): no inline assembly outside ptx/, no <<<>>>, shared memory only by these macros, warp
// primitives with explicit masks that all their lanes reach, loops that wait only on atomics or ptx waits. Sums and products are fused where fmaf
// stands and nowhere else (the sources are compiled with -fmad=false): a row's bits must not hang on the kernel it is computed in.
#pragma once
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#ifndef M2_EMULATED  // the emulator's cuda_runtime.h has its own
#define M2_DYNAMIC_SHARED(name) extern __shared__ __align__(1024) uint8_t name[]
#define M2_SHARED(T, name, ...) __shared__ T name __VA_ARGS__
#endif

#if defined(M2_EMULATED) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define M2_HOPPER 1
#else
#define M2_HOPPER 0
#endif

namespace m2::cuda {

constexpr unsigned kFullMask = 0xffffffffu;
constexpr int kWarp = 32;

}  // namespace m2::cuda
