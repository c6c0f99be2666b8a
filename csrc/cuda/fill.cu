// Weights that nobody made, for benches: the numbers of core/hash.h, by element.
#include "core/hash.h"
#include "cuda/launch.h"
#include "cuda/launchers.h"
#include "cuda/ptx/launch.h"
#include "cuda/vectors.h"

namespace m2::cuda {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ void store(float* to, float x) { *to = x; }
__device__ __forceinline__ void store(__nv_bfloat16* to, float x) { *to = __float2bfloat16_rn(x); }

// A product may read weights before it waits for the kernel in front of it, so this one lets nobody start early, and ends when all that it wrote can be seen.
template <class T>
__global__ void __launch_bounds__(kThreads) fill_random_kernel(T* data, int64_t count, float scale, uint64_t seed) {
  ptx::wait_for_previous_kernel();
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < count; i += gridDim.x * int64_t{kThreads}) store(data + i, random_element(seed, i, scale));
  __threadfence();
}

}  // namespace

void fill_random(const Machine& m, void* data, DType dtype, int64_t count, float scale, uint64_t seed) {
  expect(dtype == DType::kF32 || dtype == DType::kBf16, "fill_random fills f32 or bf16, not ", dtype_name(dtype));
  if (count == 0) return;
  const Launch l{.grid = static_cast<unsigned>(std::min<int64_t>((count + kThreads - 1) / kThreads, 16 * m.multiprocessors())), .block = kThreads};
  if (dtype == DType::kF32) launch<fill_random_kernel<float>>(m, l, static_cast<float*>(data), count, scale, seed);
  else launch<fill_random_kernel<__nv_bfloat16>>(m, l, bf16_data(data), count, scale, seed);
}

}  // namespace m2::cuda
