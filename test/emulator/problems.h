// The test kernels on random inputs against float64: each run says what became of it, nothing where the result is right.
#pragma once
#include <string>
#include <vector>

#include "device_test.h"
#include "kernels/attention.h"
#include "kernels/gemm_mma.h"
#include "kernels/gemm_wgmma.h"
#include "kernels/row_norm.h"

namespace m2::test {

constexpr double kBf16Bound = 5e-3;  // of the rounding of results to bf16: 1.7e-3, and of the weights of attention

inline std::string outcome(cudaError_t status) {
  if (status == cudaSuccess) status = cudaDeviceSynchronize();
  return status == cudaSuccess ? "" : emulator::last_report();
}

template <class T>
std::string judged(const std::vector<T>& got, const std::vector<double>& truth, double bound) {
  const double error = error_of(got, truth);
  return error <= bound ? "" : "wrong by " + std::to_string(error);
}

template <RowNormBug kBug = RowNormBug::kNone>
std::string run_row_norm(int rows, int width) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(rows) * width);
  for (float& v : x) v = normal(random);
  std::vector<double> truth(x.size());
  for (int r = 0; r < rows; r++) {
    double sum = 0;
    for (int i = 0; i < width; i++) sum += static_cast<double>(x[r * width + i]) * x[r * width + i];
    for (int i = 0; i < width; i++) truth[r * width + i] = x[r * width + i] / std::sqrt(sum / width + 1e-6);
  }
  const DeviceArray<float> dx(x), out(x.size());
  const std::string failed = outcome(start<row_norm_kernel<256, kBug>>({.grid = dim3(rows), .block = 256}, out.data(), dx.data(), width, 1e-6f));
  return failed.empty() ? judged(out.values(), truth, 1e-6) : failed;
}

struct GemmProblem {
  int m, n, k;
  bool transpose_b;
  std::vector<__nv_bfloat16> a, b;
  std::vector<double> truth;

  GemmProblem(int m, int n, int k, bool transpose_b) : m(m), n(n), k(k), transpose_b(transpose_b), truth(static_cast<size_t>(m) * n) {
    std::mt19937 random(2);
    a = random_bf16(random, static_cast<size_t>(m) * k);
    b = random_bf16(random, static_cast<size_t>(n) * k);
    std::vector<float> fa(a.begin(), a.end()), fb(b.size());
    for (int j = 0; j < n; j++) {
      for (int i = 0; i < k; i++) fb[static_cast<size_t>(j) * k + i] = b[transpose_b ? static_cast<size_t>(i) * n + j : static_cast<size_t>(j) * k + i];
    }
    for (int i = 0; i < m; i++) {
      for (int j = 0; j < n; j++) {
        double sum = 0;
        for (int l = 0; l < k; l++) sum += static_cast<double>(fa[static_cast<size_t>(i) * k + l]) * fb[static_cast<size_t>(j) * k + l];
        truth[static_cast<size_t>(i) * n + j] = sum;
      }
    }
  }
};

template <GemmBug kBug = GemmBug::kNone>
std::string run_gemm_mma(const GemmProblem& p) {
  const DeviceArray<__nv_bfloat16> a(p.a), b(p.b), c(p.truth.size());
  const Shape shape{.grid = dim3((p.n + kTileN - 1) / kTileN, (p.m + kTileM - 1) / kTileM), .block = 256, .shared = kGemmShared};
  const std::string failed = outcome(start<gemm_mma_kernel<kBug>>(shape, c.data(), a.data(), b.data(), p.m, p.n, p.k));
  return failed.empty() ? judged(c.values(), p.truth, kBf16Bound) : failed;
}

// A matrix of bf16 [rows, columns] in boxes of `box_rows` rows of 64.
inline CUtensorMap matrix_map(const void* data, int rows, int columns, unsigned box_rows) {
  CUtensorMap map;
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)}, strides[] = {static_cast<cuuint64_t>(columns) * 2};
  const cuuint32_t box[] = {64, box_rows}, ones[] = {1, 1};
  const CUresult result =
      cuTensorMapEncodeTiled(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<void*>(data), sizes, strides, box, ones, CU_TENSOR_MAP_INTERLEAVE_NONE,
                             CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  EXPECT(result == CUDA_SUCCESS, emulator::last_report());
  return map;
}

template <int kTransposeB = 0, bool kRegisters = false, RingBug kBug = RingBug::kNone>
std::string run_gemm_wgmma(const GemmProblem& p) {
  const DeviceArray<__nv_bfloat16> a(p.a), b(p.b), c(p.truth.size());
  const CUtensorMap map_a = matrix_map(a.data(), p.m, p.k, kRingM);
  const CUtensorMap map_b = kTransposeB ? matrix_map(b.data(), p.k, p.n, 64) : matrix_map(b.data(), p.n, p.k, kRingN);
  const Shape shape{.grid = dim3((p.n + kRingN - 1) / kRingN, (p.m + kRingM - 1) / kRingM), .block = 384, .shared = kRingShared};
  const std::string failed = outcome(start<gemm_wgmma_kernel<kTransposeB, kRegisters, kBug>>(shape, c.data(), map_a, map_b, p.m, p.n, p.k));
  return failed.empty() ? judged(c.values(), p.truth, kBf16Bound) : failed;
}

struct AttentionProblem {
  int queries, context, heads, kv_heads;
  std::vector<__nv_bfloat16> q, k, v;
  std::vector<int> pages;
  std::vector<double> truth;

  AttentionProblem(int queries, int context, int heads, int kv_heads) : queries(queries), context(context), heads(heads), kv_heads(kv_heads) {
    std::mt19937 random(3);
    const int used = (context + kPageSize - 1) / kPageSize, all = used + 3;
    q = random_bf16(random, static_cast<size_t>(queries) * heads * kHeadDim);
    k = random_bf16(random, static_cast<size_t>(all) * kPageSize * kv_heads * kHeadDim);
    v = random_bf16(random, k.size());
    for (int i = 0; i < all; i++) pages.push_back(i);
    std::shuffle(pages.begin(), pages.end(), random);
    pages.resize(used);
    truth.resize(q.size());
    for (int i = 0; i < queries; i++) {
      for (int h = 0; h < heads; h++) attend(i, h);
    }
  }

 private:
  void attend(int query, int head) {
    const int seen = context - queries + query + 1, kv_head = head / (heads / kv_heads);
    const auto at = [&](const std::vector<__nv_bfloat16>& cache, int position, int d) {
      const size_t slot = static_cast<size_t>(pages[position / kPageSize]) * kPageSize + position % kPageSize;
      return static_cast<double>(static_cast<float>(cache[(slot * kv_heads + kv_head) * kHeadDim + d]));
    };
    const size_t row = (static_cast<size_t>(query) * heads + head) * kHeadDim;
    std::vector<double> weight(seen);
    double largest = -1e300, total = 0;
    for (int p = 0; p < seen; p++) {
      double score = 0;
      for (int d = 0; d < kHeadDim; d++) score += static_cast<double>(static_cast<float>(q[row + d])) * at(k, p, d);
      weight[p] = score / std::sqrt(static_cast<double>(kHeadDim));
      largest = std::max(largest, weight[p]);
    }
    for (double& w : weight) total += w = std::exp(w - largest);
    for (int p = 0; p < seen; p++) {
      for (int d = 0; d < kHeadDim; d++) truth[row + d] += weight[p] / total * at(v, p, d);
    }
  }
};

template <AttentionBug kBug = AttentionBug::kNone>
std::string run_attention(const AttentionProblem& p) {
  const DeviceArray<__nv_bfloat16> q(p.q), k(p.k), v(p.v), out(p.truth.size());
  const DeviceArray<int> pages(p.pages);
  const AttentionShape s{out.data(), q.data(), k.data(), v.data(), pages.data(), p.queries, p.context, p.heads, p.kv_heads,
                         static_cast<float>(1.4426950408889634 / std::sqrt(static_cast<double>(kHeadDim)))};
  const Shape shape{.grid = dim3((p.queries + kQueries - 1) / kQueries, p.heads), .block = 128, .shared = kAttentionShared};
  const std::string failed = outcome(start<attention_kernel<kBug>>(shape, s));
  return failed.empty() ? judged(out.values(), p.truth, kBf16Bound) : failed;
}

}  // namespace m2::test
