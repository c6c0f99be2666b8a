// Rows of x rounded in front of a product, where the product does not do it: a warp for each block of 128 k. Must move: x once, and what it becomes.
#include "cuda/float8.h"
#include "cuda/gemm/fp8_rows.h"
#include "cuda/gemm/kernels.h"
#include "cuda/launch.h"
#include "cuda/launchers.h"
#include "cuda/ptx/launch.h"

namespace m2::cuda {
namespace {

constexpr int kThreads = 256;

// end: where it is given, rows from *end on mean nothing. to: e4m3 and behind them the scales, as a GemmTask has both; or the numbers as bf16, where there is no
// wgmma.
template <bool kCodes>
__global__ void __launch_bounds__(kThreads) round_rows_kernel(const __nv_bfloat16* x, int64_t blocks, int row_blocks, const int32_t* end, void* to) {
  ptx::let_next_kernel_start();
  ptx::wait_for_previous_kernel();
  const int64_t block = static_cast<int64_t>(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;
  if (block >= (end ? static_cast<int64_t>(*end) * row_blocks : blocks)) return;
  const int lane = threadIdx.x % kWarp;
  const uint2 numbers = load_block(x + block * kBlockK);
  const float scale = block_scale(numbers);
  if constexpr (kCodes) {
    if constexpr (!M2_HOPPER) return;
    static_cast<uint32_t*>(to)[block * kWarp + lane] = round_block(numbers, scale);
    if (lane == 0) reinterpret_cast<float*>(static_cast<uint8_t*>(to) + blocks * kBlockK)[block] = scale;
  } else {
    const float inverse = __uint_as_float(inverse_scale_bits(__float_as_uint(scale)));
    const auto rounded = [&](uint32_t pair) {
      const float2 v = unpack_bf16(pair);
      return pack_bf16(f8_to_f32(to_f8(v.x * inverse)) * scale, f8_to_f32(to_f8(v.y * inverse)) * scale);
    };
    uint32_t* at = static_cast<uint32_t*>(to) + (block * kBlockK + lane / 4 * kStep) / 2 + lane % 4;
    at[0] = rounded(numbers.x);
    at[4] = rounded(numbers.y);
  }
}

}  // namespace

size_t product_scratch(const Machine& m, int64_t rounded) { return rounded * (is_hopper(m.architecture()) ? 1 : sizeof(bf16)) + rounded / kRowBlock * sizeof(float); }

void round_rows(const Machine& m, GemmTask& task) {
  const int64_t numbers = static_cast<int64_t>(task.rows / task.slots) * task.k, blocks = numbers / kRowBlock;
  void* const to = m.scratch(product_scratch(m, numbers));
  const Launch l{.grid = static_cast<unsigned>((blocks + kThreads / kWarp - 1) / (kThreads / kWarp)), .block = kThreads};
  const int32_t* const end = task.offsets && !task.source ? task.offsets + task.groups : nullptr;
  if (!is_hopper(m.architecture())) {
    launch<round_rows_kernel<false>>(m, l, task.x, blocks, task.k / kBlockK, end, to);
    task.x = bf16_data(to);
    return;
  }
  launch<round_rows_kernel<true>>(m, l, task.x, blocks, task.k / kBlockK, end, to);
  task.codes = static_cast<const uint8_t*>(to);
  task.row_scales = reinterpret_cast<const float*>(task.codes + numbers);
}

}  // namespace m2::cuda
