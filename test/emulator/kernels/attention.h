// One sequence of causal attention over paged K and V [page][16][heads][128] bf16, queries [T, Hq, 128]: 4 warps, 64 queries a block, K and V in two
// stages of cp.async, softmax on the way.
#pragma once
#include "cuda/ptx/async_copy.h"
#include "cuda/ptx/math.h"
#include "cuda/ptx/matrix.h"
#include "cuda/ptx/mma.h"

namespace m2::test {

enum class AttentionBug { kNone, kNoBarrierAtEnd };

struct AttentionShape {
  __nv_bfloat16* out;
  const __nv_bfloat16 *q, *k, *v;
  const int* pages;
  int queries, context, heads, kv_heads;
  float scale_log2;
};
constexpr int kHeadDim = 128, kQueries = 64, kKeys = 64, kPageSize = 16, kHeadBytes = kHeadDim * 2;
constexpr int kAttentionShared = (kQueries + 4 * kKeys) * kHeadBytes;

__device__ inline uint32_t piece_of_head(int row, int piece) { return static_cast<uint32_t>(row * kHeadBytes + ((piece ^ (row & 7)) << 4)); }

template <AttentionBug kBug = AttentionBug::kNone>
__global__ void __launch_bounds__(128) attention_kernel(const AttentionShape s) {
  namespace ptx = cuda::ptx;
  M2_DYNAMIC_SHARED(raw);
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32, g = lane / 4, t = lane % 4;
  const int q0 = blockIdx.x * kQueries, head = blockIdx.y, kv_head = head / (s.heads / s.kv_heads), offset = s.context - s.queries;
  const uint32_t to_q = ptx::shared_address(raw), to_k = to_q + kQueries * kHeadBytes, to_v = to_k + 2 * kKeys * kHeadBytes;
  const int last = min(s.context, q0 + kQueries + offset), tiles = (last + kKeys - 1) / kKeys;
  const auto load = [&](uint32_t to, const __nv_bfloat16* from, int tile) {
    for (int i = thread; i < kKeys * 16; i += 128) {
      const int row = i / 16, piece = i % 16, position = tile * kKeys + row;
      const bool inside = position < s.context;
      const size_t page = inside ? s.pages[position / kPageSize] : 0, slot = inside ? position % kPageSize : 0;
      ptx::cp_async_16(to + piece_of_head(row, piece), from + ((page * kPageSize + slot) * s.kv_heads + kv_head) * kHeadDim + piece * 8, inside ? 16 : 0);
    }
    ptx::cp_async_commit();
  };
  for (int i = thread; i < kQueries * 16; i += 128) {
    const int row = i / 16, piece = i % 16;
    const bool inside = q0 + row < s.queries;
    ptx::cp_async_16(to_q + piece_of_head(row, piece), s.q + (static_cast<size_t>(inside ? q0 + row : 0) * s.heads + head) * kHeadDim + piece * 8,
                     inside ? 16 : 0);
  }
  load(to_k, s.k, 0);
  load(to_v, s.v, 0);
  float out[16][4] = {}, largest[2] = {-1e30f, -1e30f}, total[2] = {0, 0};
  for (int tile = 0; tile < tiles; tile++) {
    const uint32_t k0 = to_k + (tile & 1) * kKeys * kHeadBytes, v0 = to_v + (tile & 1) * kKeys * kHeadBytes;
    const bool more = tile + 1 < tiles;
    if (more) {
      load(to_k + ((tile + 1) & 1) * kKeys * kHeadBytes, s.k, tile + 1);
      load(to_v + ((tile + 1) & 1) * kKeys * kHeadBytes, s.v, tile + 1);
      ptx::cp_async_wait<3>();
    } else {
      ptx::cp_async_wait<1>();
    }
    __syncthreads();
    float score[8][4] = {};
    for (int kk = 0; kk < 8; kk++) {
      uint32_t fq[4];
      ptx::ldmatrix_x4(fq, to_q + piece_of_head(warp * 16 + (lane & 15), kk * 2 + (lane >> 4)));
      for (int n = 0; n < 4; n++) {
        uint32_t fk[4];
        ptx::ldmatrix_x4(fk, k0 + piece_of_head(n * 16 + (lane & 7) + ((lane >> 4) << 3), kk * 2 + ((lane >> 3) & 1)));
        const uint32_t low[2] = {fk[0], fk[1]}, high[2] = {fk[2], fk[3]};
        ptx::mma_bf16(score[2 * n], fq, low);
        ptx::mma_bf16(score[2 * n + 1], fq, high);
      }
    }
    float next[2] = {largest[0], largest[1]};
    for (int n = 0; n < 8; n++) {
      for (int e = 0; e < 4; e++) {
        const int query = q0 + warp * 16 + g + (e >> 1) * 8 + offset, key = tile * kKeys + n * 8 + t * 2 + (e & 1);
        score[n][e] = key <= query && key < s.context ? score[n][e] * s.scale_log2 : -1e30f;
        next[e >> 1] = fmaxf(next[e >> 1], score[n][e]);
      }
    }
    float shrink[2];
    for (int r = 0; r < 2; r++) {
      for (int step = 1; step < 4; step *= 2) next[r] = fmaxf(next[r], __shfl_xor_sync(cuda::kFullMask, next[r], step));
      shrink[r] = ptx::exp2_approx(largest[r] - next[r]);
      largest[r] = next[r];
      total[r] *= shrink[r];
    }
    uint32_t weight[8][2];
    for (int n = 0; n < 8; n++) {
      for (int e = 0; e < 4; e++) {
        score[n][e] = ptx::exp2_approx(score[n][e] - largest[e >> 1]);
        total[e >> 1] += score[n][e];
      }
      for (int r = 0; r < 2; r++) {
        const __nv_bfloat162 pair = __floats2bfloat162_rn(score[n][2 * r], score[n][2 * r + 1]);
        memcpy(&weight[n][r], &pair, 4);
      }
    }
    for (int n = 0; n < 16; n++) {
      for (int e = 0; e < 4; e++) out[n][e] *= shrink[e >> 1];
    }
    if (more) ptx::cp_async_wait<2>();
    else ptx::cp_async_wait<0>();
    __syncthreads();
    for (int kk = 0; kk < 4; kk++) {
      const uint32_t fw[4] = {weight[2 * kk][0], weight[2 * kk][1], weight[2 * kk + 1][0], weight[2 * kk + 1][1]};
      for (int n = 0; n < 8; n++) {
        uint32_t fv[4];
        ptx::ldmatrix_x4_trans(fv, v0 + piece_of_head(kk * 16 + (lane & 15), n * 2 + (lane >> 4)));
        const uint32_t low[2] = {fv[0], fv[1]}, high[2] = {fv[2], fv[3]};
        ptx::mma_bf16(out[2 * n], fw, low);
        ptx::mma_bf16(out[2 * n + 1], fw, high);
      }
    }
    if (kBug != AttentionBug::kNoBarrierAtEnd) __syncthreads();
  }
  for (int r = 0; r < 2; r++) {
    for (int step = 1; step < 4; step *= 2) total[r] += __shfl_xor_sync(cuda::kFullMask, total[r], step);
    const int query = q0 + warp * 16 + g + r * 8;
    for (int n = 0; n < 16 && query < s.queries; n++) {
      *reinterpret_cast<__nv_bfloat162*>(s.out + (static_cast<size_t>(query) * s.heads + head) * kHeadDim + n * 8 + t * 2) =
          __floats2bfloat162_rn(out[n][2 * r] / total[r], out[n][2 * r + 1] / total[r]);
    }
  }
}

}  // namespace m2::test
