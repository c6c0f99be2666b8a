// ldmatrix and stmatrix: 8 x 8 matrices of 16-bit elements between shared memory and a warp's registers. Lane l gives the address of row l % 8 of matrix
// l / 8 (16 bytes, aligned); lane l holds elements (l / 4, 2 (l % 4)) and its right neighbour, or with _trans (2 (l % 4), l / 4) and its lower one.
#pragma once
#include "cuda/ptx/form.h"

namespace m2::cuda::ptx {

M2_PTX void ldmatrix_x1(uint32_t (&r)[1], uint32_t shared) {
  M2_MODEL(emulator::ldmatrix(r, 1, false, shared);)
  M2_ASM(asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(r[0]) : "r"(shared) : "memory");)
}

M2_PTX void ldmatrix_x2(uint32_t (&r)[2], uint32_t shared) {
  M2_MODEL(emulator::ldmatrix(r, 2, false, shared);)
  M2_ASM(asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(shared) : "memory");)
}

M2_PTX void ldmatrix_x4(uint32_t (&r)[4], uint32_t shared) {
  M2_MODEL(emulator::ldmatrix(r, 4, false, shared);)
  M2_ASM(asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                      : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                      : "r"(shared)
                      : "memory");)
}

M2_PTX void ldmatrix_x1_trans(uint32_t (&r)[1], uint32_t shared) {
  M2_MODEL(emulator::ldmatrix(r, 1, true, shared);)
  M2_ASM(asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(r[0]) : "r"(shared) : "memory");)
}

M2_PTX void ldmatrix_x2_trans(uint32_t (&r)[2], uint32_t shared) {
  M2_MODEL(emulator::ldmatrix(r, 2, true, shared);)
  M2_ASM(asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(shared) : "memory");)
}

M2_PTX void ldmatrix_x4_trans(uint32_t (&r)[4], uint32_t shared) {
  M2_MODEL(emulator::ldmatrix(r, 4, true, shared);)
  M2_ASM(asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                      : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                      : "r"(shared)
                      : "memory");)
}

// stmatrix needs sm_90.
M2_PTX void stmatrix_x1(uint32_t shared, const uint32_t (&r)[1]) {
  M2_MODEL(emulator::stmatrix(shared, 1, false, r);)
  M2_ASM_90(asm volatile("stmatrix.sync.aligned.m8n8.x1.shared.b16 [%0], {%1};" ::"r"(shared), "r"(r[0]) : "memory");)
}

M2_PTX void stmatrix_x2(uint32_t shared, const uint32_t (&r)[2]) {
  M2_MODEL(emulator::stmatrix(shared, 2, false, r);)
  M2_ASM_90(asm volatile("stmatrix.sync.aligned.m8n8.x2.shared.b16 [%0], {%1,%2};" ::"r"(shared), "r"(r[0]), "r"(r[1]) : "memory");)
}

M2_PTX void stmatrix_x4(uint32_t shared, const uint32_t (&r)[4]) {
  M2_MODEL(emulator::stmatrix(shared, 4, false, r);)
  M2_ASM_90(asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(shared), "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
                         : "memory");)
}

M2_PTX void stmatrix_x4_trans(uint32_t shared, const uint32_t (&r)[4]) {
  M2_MODEL(emulator::stmatrix(shared, 4, true, r);)
  M2_ASM_90(asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(shared), "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
                         : "memory");)
}

}  // namespace m2::cuda::ptx
