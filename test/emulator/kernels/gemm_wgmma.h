// c[M, N] = a[M, K] b^T: tensor loads into a ring of 4 stages with mbarriers, one producer and two consumer warpgroups, tiles of 128 x 128 x 64.
// kTransposeB 0: b is [N, K]; 1: b is [K, N]. kRegisters: a goes through registers. M, N, K are any (16 bytes a row's multiple).
#pragma once
#include "cuda/ptx/elect.h"
#include "cuda/ptx/matrix.h"
#include "cuda/ptx/mbarrier.h"
#include "cuda/ptx/tensor.h"
#include "cuda/ptx/wgmma.h"

namespace m2::test {

enum class RingBug {
  kNone,
  kNoBarrierAfterInit,
  kNoInitFence,
  kNoWaitForEmpty,
  kEmptyParity,
  kBytes,
  kNoWgmmaFence,
  kReleasedEarly,
  kAccumulatorTouched,
  kDescriptor,
  kOneArrivalPerWarpgroup,
};

constexpr int kRingM = 128, kRingN = 128, kRingK = 64, kStages = 4, kStageBytes = (kRingM + kRingN) * kRingK * 2;
constexpr int kRingShared = kStages * kStageBytes + 1024;

template <int kTransposeB = 0, bool kRegisters = false, RingBug kBug = RingBug::kNone>
__global__ void __launch_bounds__(384) gemm_wgmma_kernel(__nv_bfloat16* __restrict__ c, const __grid_constant__ CUtensorMap map_a,
                                                         const __grid_constant__ CUtensorMap map_b, int m, int n, int k) {
  namespace ptx = cuda::ptx;
  M2_DYNAMIC_SHARED(raw);
  const int thread = threadIdx.x, warpgroup = thread / 128, m0 = blockIdx.y * kRingM, n0 = blockIdx.x * kRingN, steps = (k + kRingK - 1) / kRingK;
  const uint32_t tiles = ptx::shared_address(raw), bars = tiles + kStages * kStageBytes;
  const auto full = [&](int stage) { return bars + 16 * stage; };
  const auto empty = [&](int stage) { return bars + 16 * stage + 8; };
  constexpr bool kOne = kBug == RingBug::kOneArrivalPerWarpgroup;
  if (thread == 0) {
    for (int i = 0; i < kStages; i++) {
      ptx::mbarrier_init(full(i), 1);
      ptx::mbarrier_init(empty(i), kOne ? 2 : 8);
    }
    if (kBug != RingBug::kNoInitFence) ptx::fence_mbarrier_init();
  }
  if (kBug != RingBug::kNoBarrierAfterInit) __syncthreads();
  if (warpgroup == 0) {
    ptx::give_registers<40>();
    if (thread / 32 == 0 && ptx::elect_one()) {
      for (int step = 0; step < steps; step++) {
        const int stage = step % kStages;
        const uint32_t to_a = tiles + stage * kStageBytes, to_b = to_a + kRingM * kRingK * 2;
        if (kBug != RingBug::kNoWaitForEmpty) ptx::mbarrier_wait(empty(stage), (step / kStages & 1) ^ (kBug == RingBug::kEmptyParity ? 0 : 1));
        ptx::mbarrier_arrive_expect_bytes(full(stage), kBug == RingBug::kBytes ? kStageBytes - 128 : kStageBytes);
        ptx::tensor_load(to_a, &map_a, full(stage), step * kRingK, m0);
        if (kTransposeB == 0) {
          ptx::tensor_load(to_b, &map_b, full(stage), step * kRingK, n0);
        } else {
          ptx::tensor_load(to_b, &map_b, full(stage), n0, step * kRingK);
          ptx::tensor_load(to_b + 64 * kRingK * 2, &map_b, full(stage), n0 + 64, step * kRingK);
        }
      }
    }
    return;
  }
  ptx::take_registers<232>();
  const int consumer = warpgroup - 1, lane = thread % 32, warp = thread % 128 / 32;
  float d[64] = {};
  for (int step = 0; step < steps; step++) {
    const int stage = step % kStages;
    const uint32_t from_a = tiles + stage * kStageBytes + consumer * 64 * 128, from_b = tiles + stage * kStageBytes + kRingM * kRingK * 2;
    ptx::mbarrier_wait(full(stage), step / kStages & 1);
    uint32_t fa[4][4];
    for (int kk = 0; kRegisters && kk < 4; kk++) {
      const int row = warp * 16 + (lane & 15), piece = kk * 2 + (lane >> 4);
      ptx::ldmatrix_x4(fa[kk], from_a + row * 128 + ((piece ^ (row & 7)) << 4));
    }
    if (kBug != RingBug::kNoWgmmaFence) ptx::wgmma_fence();
    for (int kk = 0; kk < 4; kk++) {
      const uint32_t stride = kBug == RingBug::kDescriptor ? 2048 : 1024;
      const uint64_t b = kTransposeB == 0 ? ptx::matrix_descriptor(from_b + kk * 32, 16, stride, ptx::Swizzle::k128)
                                          : ptx::matrix_descriptor(from_b + kk * 16 * 128, 64 * kRingK * 2, stride, ptx::Swizzle::k128);
      if (kRegisters) ptx::wgmma_bf16<kTransposeB>(d, fa[kk], b, step | kk);
      else ptx::wgmma_bf16<0, kTransposeB>(d, ptx::matrix_descriptor(from_a + kk * 32, 16, 1024, ptx::Swizzle::k128), b, step | kk);
    }
    ptx::wgmma_commit();
    if (kBug == RingBug::kAccumulatorTouched) d[0] *= 0.5f;
    if (kBug == RingBug::kReleasedEarly && thread % 32 == 0) ptx::mbarrier_arrive(empty(stage));
    ptx::wgmma_wait<0>();
    if (kBug != RingBug::kReleasedEarly && thread % (kOne ? 128 : 32) == 0) ptx::mbarrier_arrive(empty(stage));
  }
  for (int j = 0; j < 16; j++) {
    for (int i = 0; i < 2; i++) {
      const int row = m0 + consumer * 64 + warp * 16 + lane / 4 + 8 * i, column = n0 + 8 * j + lane % 4 * 2;
      if (row < m && column < n) *reinterpret_cast<__nv_bfloat162*>(c + static_cast<size_t>(row) * n + column) = __floats2bfloat162_rn(d[4 * j + 2 * i], d[4 * j + 2 * i + 1]);
    }
  }
}

}  // namespace m2::test
