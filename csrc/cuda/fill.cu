// Numbers that nobody made, for benches: those of core/hash.h, by element. Must move: what it writes.
#include "core/hash.h"
#include "cuda/launch.h"
#include "cuda/launchers.h"
#include "cuda/ptx/launch.h"
#include "cuda/vectors.h"

namespace m2::cuda {
namespace {

constexpr int kThreads = 256;

struct RandomTask {
  int64_t count, first;  // the numbers are first .. first + count - 1
  float scale;
  uint64_t seed;
};

__device__ __forceinline__ void make(const RandomTask& task, int64_t i, float* to) { *to = random_element(task.seed, i, task.scale); }
__device__ __forceinline__ void make(const RandomTask& task, int64_t i, __nv_bfloat16* to) { *to = __float2bfloat16_rn(random_element(task.seed, i, task.scale)); }
__device__ __forceinline__ void make(const RandomTask& task, int64_t i, f8* to) { *to = to_f8(random_element(task.seed, i, task.scale)); }
__device__ __forceinline__ void make(const RandomTask& task, int64_t i, uint8_t* to) { *to = random_codes(task.seed, i); }

// A product may read weights before it waits for the kernel in front of it, so this one lets nobody start early, and ends when all that it wrote can be seen.
template <class T>
__global__ void __launch_bounds__(kThreads) fill_random_kernel(T* data, const RandomTask task) {
  ptx::wait_for_previous_kernel();
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < task.count; i += gridDim.x * int64_t{kThreads}) make(task, task.first + i, data + i);
  __threadfence();
}

}  // namespace

void fill_random(const Machine& m, void* data, DType dtype, int64_t count, float scale, uint64_t seed, int64_t first) {
  if (count == 0) return;
  const Launch l{.grid = static_cast<unsigned>(std::min<int64_t>((count + kThreads - 1) / kThreads, 16 * m.multiprocessors())), .block = kThreads};
  const RandomTask task{count, first, scale, seed};
  switch (dtype) {
    case DType::kF32: return launch<fill_random_kernel<float>>(m, l, static_cast<float*>(data), task);
    case DType::kBf16: return launch<fill_random_kernel<__nv_bfloat16>>(m, l, bf16_data(data), task);
    case DType::kF8E4m3: return launch<fill_random_kernel<f8>>(m, l, static_cast<f8*>(data), task);
    case DType::kU8: return launch<fill_random_kernel<uint8_t>>(m, l, static_cast<uint8_t*>(data), task);
    default: fail("DEVICE_ERROR", "internal: random numbers are no ", dtype_name(dtype));
  }
}

}  // namespace m2::cuda
