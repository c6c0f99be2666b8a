// The weighted sum of a token's experts: out[t] += sum over a, in order, of weights[t, a] * y[target[t, a]]. A thread has eight channels of one token; y is
// read once, 16 bytes at a time.
#include "cuda/launch.h"
#include "cuda/launchers.h"
#include "cuda/ptx/launch.h"
#include "cuda/vectors.h"

namespace m2::cuda {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads) unpermute_kernel(const __nv_bfloat16* y, const int32_t* target, const float* weights, int active, int width, float* out) {
  ptx::let_next_kernel_start();
  ptx::wait_for_previous_kernel();
  const int64_t token = blockIdx.x;
  const int at = (blockIdx.y * kThreads + threadIdx.x) * 8;
  target += token * active;
  weights += token * active;
  if (at >= width || target[0] < 0) return;
  float sums[8] = {};
  for (int a = 0; a < active; a++) {
    const float weight = weights[a];
    float values[8];
    load_bf16x8(y + static_cast<int64_t>(target[a]) * width + at, values);
#pragma unroll
    for (int i = 0; i < 8; i++) sums[i] = fmaf(weight, values[i], sums[i]);
  }
  float4* to = reinterpret_cast<float4*>(out + token * width + at);
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const float4 before = to[half];
    to[half] = {before.x + sums[4 * half], before.y + sums[4 * half + 1], before.z + sums[4 * half + 2], before.w + sums[4 * half + 3]};
  }
}

}  // namespace

void unpermute(const Machine& m, const UnpermuteArgs& a) {
  const int width = static_cast<int>(a.y.size(1));
  const dim3 grid(static_cast<unsigned>(a.target.size(0)), static_cast<unsigned>((width + kThreads * 8 - 1) / (kThreads * 8)));
  launch<unpermute_kernel>(m, {.grid = grid, .block = kThreads}, bf16_data(a.y.data), a.target.as<int32_t>(), a.weights.as<float>(), static_cast<int>(a.target.size(1)), width,
                           a.out.as<float>());
}

}  // namespace m2::cuda
