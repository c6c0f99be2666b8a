// cp.async.bulk.tensor: boxes of a tensor of 1 to 5 dimensions, which a CUtensorMap describes (kernels take it as `const __grid_constant__ CUtensorMap`).
// Coordinates are those of the box's first element, innermost first; elements outside the tensor are read as zero and not written. The tile in shared
// memory is dense, swizzled as the map says. Waits as in bulk.h.
//
//   tensor_load(shared, map, mbarrier, x0 ..)                     a box to shared memory; the mbarrier gets its bytes
//   tensor_load_multicast(shared, map, mbarrier, blocks, x0 ..)   to the same place in each block of the cluster that has a bit in `blocks`, and its bytes
//                                                                 to the mbarrier in the same place there
//   tensor_store(map, shared, x0 ..)                              a box from shared memory
//   tensor_add(map, shared, x0 ..)                                added to what is there, in the tensor's own type
#pragma once
#include <cuda.h>

#include "cuda/ptx/form.h"

namespace m2::cuda::ptx {

M2_PTX void prefetch_tensor_map(const CUtensorMap* map) {
  M2_MODEL(static_cast<void>(map);)
  M2_ASM_90(asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");)
}

// n dimensions; their parameters, names and operands; the operands' numbers behind 3 and behind 2 others, and the number behind them all.
#define M2_LIST(...) __VA_ARGS__
#define M2_TENSOR(n, parameters, names, operands, behind_3, behind_2, next)                                                                              \
  M2_PTX void tensor_load(uint32_t shared, const CUtensorMap* map, uint32_t mbarrier, parameters) {                                                     \
    M2_MODEL(const int at[] = {names}; emulator::tensor_load(shared, map, mbarrier, n, at, 0);)                                                         \
    M2_ASM_90(asm volatile("cp.async.bulk.tensor." #n "d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {" behind_3 "}], [%2];" ::"r"( \
                               shared),                                                                                                                 \
                           "l"(map), "r"(mbarrier), operands                                                                                            \
                           : "memory");)                                                                                                                \
  }                                                                                                                                                     \
  M2_PTX void tensor_load_multicast(uint32_t shared, const CUtensorMap* map, uint32_t mbarrier, uint16_t blocks, parameters) {                          \
    M2_MODEL(const int at[] = {names}; emulator::tensor_load(shared, map, mbarrier, n, at, blocks);)                                                    \
    M2_ASM_90(asm volatile("cp.async.bulk.tensor." #n                                                                                                   \
                           "d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {" behind_3 "}], [%2], %" #next ";" ::  \
                               "r"(shared),                                                                                                             \
                           "l"(map), "r"(mbarrier), operands, "h"(blocks)                                                                               \
                           : "memory");)                                                                                                                \
  }                                                                                                                                                     \
  M2_PTX void tensor_store(const CUtensorMap* map, uint32_t shared, parameters) {                                                                       \
    M2_MODEL(const int at[] = {names}; emulator::tensor_store(map, shared, n, at);)                                                                     \
    M2_ASM_90(asm volatile("cp.async.bulk.tensor." #n "d.global.shared::cta.bulk_group [%0, {" behind_2 "}], [%1];" ::"l"(map), "r"(shared), operands   \
                           : "memory");)                                                                                                                \
  }                                                                                                                                                     \
  M2_PTX void tensor_add(const CUtensorMap* map, uint32_t shared, parameters) {                                                                         \
    M2_MODEL(const int at[] = {names}; emulator::tensor_add(map, shared, n, at);)                                                                       \
    M2_ASM_90(asm volatile("cp.reduce.async.bulk.tensor." #n "d.global.shared::cta.add.tile.bulk_group [%0, {" behind_2 "}], [%1];" ::"l"(map),         \
                           "r"(shared), operands                                                                                                        \
                           : "memory");)                                                                                                                \
  }
M2_TENSOR(1, int x0, x0, "r"(x0), "%3", "%2", 4)
M2_TENSOR(2, M2_LIST(int x0, int x1), M2_LIST(x0, x1), M2_LIST("r"(x0), "r"(x1)), "%3,%4", "%2,%3", 5)
M2_TENSOR(3, M2_LIST(int x0, int x1, int x2), M2_LIST(x0, x1, x2), M2_LIST("r"(x0), "r"(x1), "r"(x2)), "%3,%4,%5", "%2,%3,%4", 6)
M2_TENSOR(4, M2_LIST(int x0, int x1, int x2, int x3), M2_LIST(x0, x1, x2, x3), M2_LIST("r"(x0), "r"(x1), "r"(x2), "r"(x3)), "%3,%4,%5,%6", "%2,%3,%4,%5", 7)
M2_TENSOR(5, M2_LIST(int x0, int x1, int x2, int x3, int x4), M2_LIST(x0, x1, x2, x3, x4), M2_LIST("r"(x0), "r"(x1), "r"(x2), "r"(x3), "r"(x4)),
          "%3,%4,%5,%6,%7", "%2,%3,%4,%5,%6", 8)
#undef M2_TENSOR
#undef M2_LIST

}  // namespace m2::cuda::ptx
