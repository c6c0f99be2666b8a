// c[M, N] = a[M, K] b[N, K]^T, bf16 with float32 sums: tiles of 128 x 128 x 64 in two stages of cp.async, 8 warps of 64 x 32. M and N are any, K a multiple
// of 64.
#pragma once
#include "cuda/ptx/async_copy.h"
#include "cuda/ptx/matrix.h"
#include "cuda/ptx/mma.h"

namespace m2::test {

enum class GemmBug { kNone, kNoBarrierBeforeLoad, kWaitOffByOne, kStoresPastEdge };

constexpr int kTileM = 128, kTileN = 128, kTileK = 64, kRowBytes = kTileK * 2;
constexpr int kGemmShared = 2 * (kTileM + kTileN) * kRowBytes;

// Rows of 128 bytes whose 16-byte pieces change places by row.
__device__ inline uint32_t piece_of_row(int row, int piece) { return static_cast<uint32_t>(row * kRowBytes + ((piece ^ (row & 7)) << 4)); }

template <GemmBug kBug = GemmBug::kNone>
__global__ void __launch_bounds__(256) gemm_mma_kernel(__nv_bfloat16* __restrict__ c, const __nv_bfloat16* __restrict__ a,
                                                       const __nv_bfloat16* __restrict__ b, int m, int n, int k) {
  M2_DYNAMIC_SHARED(raw);
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  const int m0 = blockIdx.y * kTileM, n0 = blockIdx.x * kTileN, warp_m = warp / 4 * 64, warp_n = warp % 4 * 32;
  const uint32_t shared = cuda::ptx::shared_address(raw);
  const auto load = [&](int stage, int k0) {
    const uint32_t to_a = shared + stage * (kTileM + kTileN) * kRowBytes, to_b = to_a + kTileM * kRowBytes;
    for (int i = thread; i < kTileM * 8; i += 256) {
      const int row = i / 8, piece = i % 8, at_m = m0 + row, at_n = n0 + row;
      cuda::ptx::cp_async_16(to_a + piece_of_row(row, piece), a + static_cast<size_t>(at_m < m ? at_m : 0) * k + k0 + piece * 8, at_m < m ? 16 : 0);
      cuda::ptx::cp_async_16(to_b + piece_of_row(row, piece), b + static_cast<size_t>(at_n < n ? at_n : 0) * k + k0 + piece * 8, at_n < n ? 16 : 0);
    }
    cuda::ptx::cp_async_commit();
  };
  float sums[4][4][4] = {};
  const int steps = k / kTileK;
  load(0, 0);
  for (int step = 0; step < steps; step++) {
    if (step + 1 < steps) {
      load((step + 1) & 1, (step + 1) * kTileK);
      cuda::ptx::cp_async_wait<kBug == GemmBug::kWaitOffByOne ? 2 : 1>();
    } else {
      cuda::ptx::cp_async_wait<0>();
    }
    __syncthreads();
    const uint32_t from_a = shared + (step & 1) * (kTileM + kTileN) * kRowBytes, from_b = from_a + kTileM * kRowBytes;
    for (int kk = 0; kk < kTileK / 16; kk++) {
      uint32_t fa[4][4], fb[2][4];
      for (int i = 0; i < 4; i++) cuda::ptx::ldmatrix_x4(fa[i], from_a + piece_of_row(warp_m + i * 16 + (lane & 15), kk * 2 + (lane >> 4)));
      for (int j = 0; j < 2; j++) {
        cuda::ptx::ldmatrix_x4(fb[j], from_b + piece_of_row(warp_n + j * 16 + (lane & 7) + ((lane >> 4) << 3), kk * 2 + ((lane >> 3) & 1)));
      }
      for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 4; j++) {
          const uint32_t pair[2] = {fb[j / 2][(j & 1) * 2], fb[j / 2][(j & 1) * 2 + 1]};
          cuda::ptx::mma_bf16(sums[i][j], fa[i], pair);
        }
      }
    }
    if (kBug != GemmBug::kNoBarrierBeforeLoad) __syncthreads();
  }
  for (int i = 0; i < 4; i++) {
    for (int j = 0; j < 4; j++) {
      for (int half = 0; half < 2; half++) {
        const int row = m0 + warp_m + i * 16 + lane / 4 + half * 8, column = n0 + warp_n + j * 8 + lane % 4 * 2;
        if (kBug != GemmBug::kStoresPastEdge && (row >= m || column >= n)) continue;
        *reinterpret_cast<__nv_bfloat162*>(c + static_cast<size_t>(row) * n + column) = __floats2bfloat162_rn(sums[i][j][2 * half], sums[i][j][2 * half + 1]);
      }
    }
  }
}

}  // namespace m2::test
