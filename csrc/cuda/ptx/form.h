// The form of every file in here: one function per PTX instruction, its name after the instruction's, with two bodies side by side. M2_MODEL(..) is what
// the emulator does, M2_ASM(..) the instruction; each build has one of them. test/emulator/conformance runs every function on both.
//
//   M2_ASM_90(..)       an instruction of sm_90 and later; for older devices the function does nothing, and a kernel that needs it is not launched there
//   M2_ASM_90A(..)      one that only sm_90a has
//   M2_SITE             last parameter of what waits, meets, fences or commits: where the call stands, for the emulator's reports and mutation runs
//   M2_THIS_SITE        passes it on
#pragma once
#include "cuda/device.h"

#ifdef M2_EMULATED
#define M2_MODEL(...) __VA_ARGS__
#define M2_ASM(...)
#define M2_ASM_90(...)
#define M2_ASM_90A(...)
#define M2_SITE m2::emulator::Site site = m2::emulator::Site::here()
#define M2_AND_SITE , M2_SITE
#define M2_THIS_SITE site
#define M2_AND_THIS_SITE , site
#else
#define M2_MODEL(...)
#define M2_ASM(...) __VA_ARGS__
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define M2_ASM_90(...) __VA_ARGS__
#else
#define M2_ASM_90(...)
#endif
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define M2_ASM_90A(...) __VA_ARGS__
#else
#define M2_ASM_90A(...)
#endif
#define M2_SITE
#define M2_AND_SITE
#define M2_THIS_SITE
#define M2_AND_THIS_SITE
#endif

#define M2_PTX __device__ __forceinline__

namespace m2::cuda::ptx {

// The address of shared memory as instructions take it.
M2_PTX uint32_t shared_address(const void* pointer) {
  M2_MODEL(return emulator::shared_address(pointer);)
  M2_ASM(return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));)
}

}  // namespace m2::cuda::ptx
