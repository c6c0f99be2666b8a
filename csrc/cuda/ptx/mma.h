// mma.sync: d += a b on a warp's registers, a 16 x k row-major, b k x 8 column-major, d 16 x 8. With g = lane / 4, t = lane % 4:
//   d[r]: row g + 8 (r >> 1), column 2 t + (r & 1)
//   a[r]: row g + 8 (r & 1), from k = P t + (r >> 1) 4 P on; b[r]: column g, from k = P t + r 4 P on; P elements per register (2 of 16 bits, 4 of 8)
#pragma once
#include "cuda/ptx/form.h"

namespace m2::cuda::ptx {

#define M2_MMA(name, shape, types, Sum, constraint, element)                                                                             \
  M2_PTX void name(Sum (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {                                                        \
    M2_MODEL(emulator::mma_16x8(emulator::Element::element, d, a, b);)                                                                   \
    M2_ASM(asm volatile("mma.sync.aligned." shape ".row.col." types " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"             \
                        : constraint(d[0]), constraint(d[1]), constraint(d[2]), constraint(d[3])                                         \
                        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));)                                            \
  }
M2_MMA(mma_bf16, "m16n8k16", "f32.bf16.bf16.f32", float, "+f", kBf16)
M2_MMA(mma_f16, "m16n8k16", "f32.f16.f16.f32", float, "+f", kF16)
M2_MMA(mma_s8, "m16n8k32", "s32.s8.s8.s32", int, "+r", kS8)
#if defined(M2_EMULATED) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890)
M2_MMA(mma_e4m3, "m16n8k32", "f32.e4m3.e4m3.f32", float, "+f", kE4m3)
#endif
#undef M2_MMA

}  // namespace m2::cuda::ptx
