// matrix.h: ldmatrix_x1, ldmatrix_x2, ldmatrix_x4, ldmatrix_x1_trans, ldmatrix_x2_trans, ldmatrix_x4_trans, stmatrix_x1, stmatrix_x2, stmatrix_x4,
// stmatrix_x4_trans.
#include "cuda/ptx/matrix.h"

#include "../case.h"

namespace m2::test {
namespace {

// Row r of the matrices one below the other lies at row_at(r) of shared memory.
__host__ __device__ constexpr int row_at(int r) { return (5 * r + 3) % 32; }

__device__ void put(uint32_t*& out, const uint32_t* registers, int count) {
  for (int i = 0; i < count; i++) out[i * 32 + threadIdx.x] = registers[i];
  out += count * 32;
}

__global__ void ldmatrix_kernel(uint32_t* out, const uint4* in) {
  M2_SHARED(uint4, rows, [32]);
  rows[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  const uint32_t at = ptx::shared_address(&rows[row_at(threadIdx.x)]);
  uint32_t x1[1], x2[2], x4[4];
  ptx::ldmatrix_x1(x1, at);
  put(out, x1, 1);
  ptx::ldmatrix_x2(x2, at);
  put(out, x2, 2);
  ptx::ldmatrix_x4(x4, at);
  put(out, x4, 4);
  ptx::ldmatrix_x1_trans(x1, at);
  put(out, x1, 1);
  ptx::ldmatrix_x2_trans(x2, at);
  put(out, x2, 2);
  ptx::ldmatrix_x4_trans(x4, at);
  put(out, x4, 4);
}

__global__ void stmatrix_kernel(uint4* out, const uint32_t* in) {
  M2_SHARED(uint4, rows, [4][32]);
  const int lane = threadIdx.x;
  for (int form = 0; form < 4; form++) rows[form][lane] = make_uint4(0, 0, 0, 0);
  __syncthreads();
  const uint32_t x1[1] = {in[lane]}, x2[2] = {in[lane], in[32 + lane]}, x4[4] = {in[lane], in[32 + lane], in[64 + lane], in[96 + lane]};
  const auto at = [&](int form) { return ptx::shared_address(&rows[form][row_at(lane)]); };
  ptx::stmatrix_x1(at(0), x1);
  ptx::stmatrix_x2(at(1), x2);
  ptx::stmatrix_x4(at(2), x4);
  ptx::stmatrix_x4_trans(at(3), x4);
  __syncthreads();
  for (int form = 0; form < 4; form++) out[form * 32 + lane] = rows[form][lane];
}

// f(element's index in shared memory, as 16-bit units; register's index in [matrix][lane]; whether it is the upper half) for all elements.
template <class F>
void for_each_element(int matrices, bool is_transposed, F f) {
  for (int m = 0; m < matrices; m++) {
    for (int i = 0; i < 8; i++) {
      for (int j = 0; j < 8; j++) {
        const int row = is_transposed ? j : i, column = is_transposed ? i : j;  // in the registers
        f(static_cast<size_t>(row_at(8 * m + i) * 8 + j), static_cast<size_t>(m * 32 + row * 4 + column / 2), column % 2);
      }
    }
  }
}

}  // namespace

CONFORMANCE("ldmatrix", 80) {
  const std::vector<uint32_t> in = scattered(128);
  const DeviceArray<uint32_t> given(in), got(14 * 32);
  run_kernel<ldmatrix_kernel>({.grid = 1, .block = 32}, got.data(), reinterpret_cast<const uint4*>(given.data()));
  const std::vector<uint32_t> all = got.values();
  size_t first = 0;
  for (bool is_transposed : {false, true}) {
    for (int matrices : {1, 2, 4}) {
      std::vector<uint32_t> truth(static_cast<size_t>(matrices) * 32);
      for_each_element(matrices, is_transposed,
                       [&](size_t element, size_t at, int half) { truth[at] |= (in[element / 2] >> element % 2 * 16 & 0xffff) << half * 16; });
      const std::vector<uint32_t> values(&all[first], &all[first] + truth.size());
      out.exact("ldmatrix_x" + std::to_string(matrices) + (is_transposed ? "_trans" : ""), values, truth);
      first += truth.size();
    }
  }
}

CONFORMANCE("stmatrix", 90) {
  const std::vector<uint32_t> in = scattered(128);
  const DeviceArray<uint32_t> given(in), got(4 * 128);
  run_kernel<stmatrix_kernel>({.grid = 1, .block = 32}, reinterpret_cast<uint4*>(got.data()), given.data());
  const std::vector<uint32_t> all = got.values();
  const struct {
    const char* name;
    int matrices;
    bool is_transposed;
  } forms[] = {{"stmatrix_x1", 1, false}, {"stmatrix_x2", 2, false}, {"stmatrix_x4", 4, false}, {"stmatrix_x4_trans", 4, true}};
  for (int form = 0; form < 4; form++) {
    std::vector<uint32_t> truth(128);
    for_each_element(forms[form].matrices, forms[form].is_transposed,
                     [&](size_t element, size_t at, int half) { truth[element / 2] |= (in[at] >> half * 16 & 0xffff) << element % 2 * 16; });
    out.exact(forms[form].name, std::vector<uint32_t>(all.begin() + form * 128, all.begin() + (form + 1) * 128), truth);
  }
}

}  // namespace m2::test
