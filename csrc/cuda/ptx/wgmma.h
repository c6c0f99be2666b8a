// wgmma: products of a warpgroup (4 warps), d (+)= a b with d of 64 x N, N a multiple of 8 up to 256, k of 32 bytes. Warp w of the four holds rows 16 w ..;
// with g = lane / 4, t = lane % 4, d[4 j + r]: row 16 w + g + 8 (r >> 1), column 8 j + 2 t + (r & 1). a is in shared memory or in registers (as mma's a),
// b in shared memory, both by descriptor.
//
// The order is: wgmma_fence, products, wgmma_commit, wgmma_wait<n>. From the first product to the wait for it nobody touches d, and b and a stay in
// shared memory. Each warp's wait is its own.
#pragma once
#include "cuda/ptx/form.h"
#include "cuda/ptx/wgmma_lists.h"

namespace m2::cuda::ptx {

enum class Swizzle : uint64_t { kNone = 0, k128 = 1, k64 = 2, k32 = 3 };

// Where an operand's tile is. Along K (the usual): `stride` bytes from 8 rows to the next 8; without swizzle, `leading` bytes from 16 bytes of k to the
// next. Along M or N (transposed): rows of the swizzle's width run along M or N; `leading` bytes to the next such width, `stride` bytes from 8 k to the
// next 8 (without swizzle the two change places).
M2_PTX uint64_t matrix_descriptor(uint32_t shared, uint32_t leading, uint32_t stride, Swizzle swizzle) {
  return static_cast<uint64_t>((shared & 0x3ffff) >> 4) | static_cast<uint64_t>(leading >> 4) << 16 | static_cast<uint64_t>(stride >> 4) << 32 |
         static_cast<uint64_t>(swizzle) << 62;
}

// Before the first product, and whenever registers of d or a have changed.
M2_PTX void wgmma_fence(M2_SITE) {
  M2_MODEL(emulator::wgmma_fence(site);)
  M2_ASM_90A(asm volatile("wgmma.fence.sync.aligned;" ::: "memory");)
}

M2_PTX void wgmma_commit(M2_SITE) {
  M2_MODEL(emulator::wgmma_commit(site);)
  M2_ASM_90A(asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");)
}

// Until at most kGroups of this warp's groups are in flight.
template <int kGroups>
M2_PTX void wgmma_wait(M2_SITE) {
  M2_MODEL(emulator::wgmma_wait(kGroups, site);)
  M2_ASM_90A(asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kGroups) : "memory");)
}

// The number of columns follows from d. accumulate 0: d = a b.
#define M2_WGMMA_16(name, type, element, n, fours, i0, i1, i2, i3, i4, i5, i6)                                                                        \
  template <int kTransposeA = 0, int kTransposeB = 0>                                                                                                 \
  M2_PTX void name(float (&d)[n / 2], uint64_t a, uint64_t b, int accumulate) {                                                                       \
    M2_MODEL(emulator::wgmma({emulator::Element::element, n, accumulate != 0, kTransposeA != 0, kTransposeB != 0}, d, nullptr, a, b);)                \
    M2_ASM_90A(asm volatile("{ .reg .pred p; setp.ne.b32 p, %" #i2 ", 0; wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type                \
                            " {" M2_NAMES_##fours##x4 "}, %" #i0 ", %" #i1 ", p, 1, 1, %" #i3 ", %" #i4 "; }"                                          \
                            : M2_OPERANDS_##fours##x4(d)                                                                                              \
                            : "l"(a), "l"(b), "r"(accumulate), "n"(kTransposeA), "n"(kTransposeB));)                                                  \
  }                                                                                                                                                   \
  template <int kTransposeB = 0>                                                                                                                      \
  M2_PTX void name(float (&d)[n / 2], const uint32_t (&a)[4], uint64_t b, int accumulate) {                                                           \
    M2_MODEL(emulator::wgmma({emulator::Element::element, n, accumulate != 0, false, kTransposeB != 0}, d, a, 0, b);)                                 \
    M2_ASM_90A(asm volatile("{ .reg .pred p; setp.ne.b32 p, %" #i5 ", 0; wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type                \
                            " {" M2_NAMES_##fours##x4 "}, {%" #i0 ",%" #i1 ",%" #i2 ",%" #i3 "}, %" #i4 ", p, 1, 1, %" #i6 "; }"                       \
                            : M2_OPERANDS_##fours##x4(d)                                                                                              \
                            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(kTransposeB));)                                \
  }
#define M2_WGMMA_8(name, type, element, n, fours, i0, i1, i2, i3, i4, i5)                                                                             \
  M2_PTX void name(float (&d)[n / 2], uint64_t a, uint64_t b, int accumulate) {                                                                       \
    M2_MODEL(emulator::wgmma({emulator::Element::element, n, accumulate != 0, false, false}, d, nullptr, a, b);)                                      \
    M2_ASM_90A(asm volatile("{ .reg .pred p; setp.ne.b32 p, %" #i2 ", 0; wgmma.mma_async.sync.aligned.m64n" #n "k32.f32." type "." type                \
                            " {" M2_NAMES_##fours##x4 "}, %" #i0 ", %" #i1 ", p, 1, 1; }"                                                              \
                            : M2_OPERANDS_##fours##x4(d)                                                                                              \
                            : "l"(a), "l"(b), "r"(accumulate));)                                                                                      \
  }                                                                                                                                                   \
  M2_PTX void name(float (&d)[n / 2], const uint32_t (&a)[4], uint64_t b, int accumulate) {                                                           \
    M2_MODEL(emulator::wgmma({emulator::Element::element, n, accumulate != 0, false, false}, d, a, 0, b);)                                            \
    M2_ASM_90A(asm volatile("{ .reg .pred p; setp.ne.b32 p, %" #i5 ", 0; wgmma.mma_async.sync.aligned.m64n" #n "k32.f32." type "." type                \
                            " {" M2_NAMES_##fours##x4 "}, {%" #i0 ",%" #i1 ",%" #i2 ",%" #i3 "}, %" #i4 ", p, 1, 1; }"                                 \
                            : M2_OPERANDS_##fours##x4(d)                                                                                              \
                            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));)                                                  \
  }
#define M2_WGMMA(n, fours, i0, i1, i2, i3, i4, i5, i6)                             \
  M2_WGMMA_16(wgmma_bf16, "bf16", kBf16, n, fours, i0, i1, i2, i3, i4, i5, i6)     \
  M2_WGMMA_16(wgmma_f16, "f16", kF16, n, fours, i0, i1, i2, i3, i4, i5, i6)        \
  M2_WGMMA_8(wgmma_e4m3, "e4m3", kE4m3, n, fours, i0, i1, i2, i3, i4, i5)
M2_FOR_EACH_WGMMA(M2_WGMMA)
#undef M2_WGMMA
#undef M2_WGMMA_16
#undef M2_WGMMA_8

// A warpgroup's share of registers per thread: producers give theirs to consumers.
template <int kRegisters>
M2_PTX void take_registers(M2_SITE) {
  M2_MODEL(emulator::set_registers(kRegisters, true, site);)
  M2_ASM_90A(asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));)
}

template <int kRegisters>
M2_PTX void give_registers(M2_SITE) {
  M2_MODEL(emulator::set_registers(kRegisters, false, site);)
  M2_ASM_90A(asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));)
}

}  // namespace m2::cuda::ptx
