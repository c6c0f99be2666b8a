// The weighted sum of a token's experts: out[t] += sum over a, in order, of weights[t, a] * y[target[t, a]]. A thread has eight channels of one token; y is
// read once, 16 bytes at a time.
#include "cuda/experts/combine.h"
#include "cuda/launch.h"
#include "cuda/launchers.h"
#include "cuda/ptx/launch.h"

namespace m2::cuda {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads) unpermute_kernel(const __nv_bfloat16* y, const int32_t* target, const float* weights, int active, int width, float* out) {
  ptx::let_next_kernel_start();
  ptx::wait_for_previous_kernel();
  const int64_t token = blockIdx.x;
  const int at = (blockIdx.y * kThreads + threadIdx.x) * 8;
  if (at < width) add_experts<8>(y, target + token * active, weights + token * active, active, width, at, out + token * width);
}

}  // namespace

void unpermute(const Machine& m, const UnpermuteArgs& a) {
  const int width = static_cast<int>(a.y.size(1));
  const dim3 grid(static_cast<unsigned>(a.target.size(0)), static_cast<unsigned>((width + kThreads * 8 - 1) / (kThreads * 8)));
  launch<unpermute_kernel>(m, {.grid = grid, .block = kThreads}, bf16_data(a.y.data), a.target.as<int32_t>(), a.weights.as<float>(), static_cast<int>(a.target.size(1)), width,
                           a.out.as<float>());
}

}  // namespace m2::cuda
