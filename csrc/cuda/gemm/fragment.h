// What the product kernels do with the registers of a warp. Weights are the operand A of mma.m16n8k16, tokens its operand B; see gemm/layout.h.
#pragma once
#include "cuda/device.h"
#include "cuda/ptx/mma.h"

namespace m2::cuda {

// A 4 x 4 transpose among four lanes that stand kDistance apart: word i of the j-th lane becomes word j of the i-th.
template <int kDistance, class T>
__device__ __forceinline__ void transpose_lanes(T (&words)[4]) {
  const bool odd = threadIdx.x & kDistance, high = threadIdx.x & 2 * kDistance;
  const auto exchange = [](T& low_word, T& high_word, bool upper, int distance) {
    const T other = __shfl_xor_sync(kFullMask, upper ? low_word : high_word, distance);
    low_word = upper ? other : low_word;
    high_word = upper ? high_word : other;
  };
  exchange(words[0], words[1], odd, kDistance);
  exchange(words[2], words[3], odd, kDistance);
  exchange(words[0], words[2], high, 2 * kDistance);
  exchange(words[1], words[3], high, 2 * kDistance);
}

// One step of 16 k: sums [16 outputs][8 tokens] += weights tokens^T.
__device__ __forceinline__ void multiply_step(float (&sums)[4], const uint4& weights, uint32_t tokens_low, uint32_t tokens_high) {
  const uint32_t a[4] = {weights.x, weights.y, weights.z, weights.w}, b[2] = {tokens_low, tokens_high};
  ptx::mma_bf16(sums, a, b);
}

}  // namespace m2::cuda
