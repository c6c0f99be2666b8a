// Attention for what the other kernels do not take: a cache in float32, other head dims. A block of four warps has one row of q, alone with its context, so
// that nothing beside it can touch its bits; warp w takes in tokens in groups of 32, group w, w + 4, ...:
//
//   scores    a lane per token, over D in order
//   softmax   online: m' = max(m, scores), sums so far times 2^(m - m'), p = 2^(score - m')
//   values    lanes have dims lane, lane + 32, ...; l and o take in the group's tokens in order
//
// The warps' states are joined in order, and the result takes the scale of V. Plain float32; K and V are read once for each query head, from L2 where heads
// share them.
#include "core/fp8_rows.h"
#include "cuda/attention/kernels.h"
#include "cuda/attention/rows.h"
#include "cuda/float8.h"
#include "cuda/launch.h"
#include "cuda/ptx/launch.h"
#include "cuda/vectors.h"

namespace m2::cuda {
namespace {

constexpr int kWarps = 4, kMostDim = 256, kOwn = kMostDim / kWarp;

__device__ __forceinline__ float load_one(const float* from) { return *from; }
__device__ __forceinline__ float load_one(const __nv_bfloat16* from) { return __bfloat162float(*from); }
__device__ __forceinline__ float load_one(const f8* from) { return f8_to_f32(*from); }
__device__ __forceinline__ void load_eight(const f8* from, float (&values)[8]) {
  const uint4 wide = f8x8_to_bf16(*reinterpret_cast<const uint2*>(from));
  load_bf16x8(reinterpret_cast<const __nv_bfloat16*>(&wide), values);
}
__device__ __forceinline__ void load_eight(const __nv_bfloat16* from, float (&values)[8]) { load_bf16x8(from, values); }
__device__ __forceinline__ void load_eight(const float* from, float (&values)[8]) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const float4 v = reinterpret_cast<const float4*>(from)[half];
    values[4 * half] = v.x;
    values[4 * half + 1] = v.y;
    values[4 * half + 2] = v.z;
    values[4 * half + 3] = v.w;
  }
}

// The last sequence that begins at a token or before it.
__device__ __forceinline__ int sequence_of(const AttentionTask& task, int token) {
  int low = 0, high = task.sequences;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (task.cu_seqlens[middle] <= token) low = middle;
    else high = middle;
  }
  return low;
}

// Rounds a head of q. By the whole block, which has as many threads as a block of k has numbers.
__device__ __forceinline__ void round_head(float* q, int dim) {
  static_assert(kWarps * kWarp == kRowBlock);
  const int lane = threadIdx.x % kWarp;
  for (int first = 0; first < dim; first += kRowBlock) {
    uint32_t largest = 0;
#pragma unroll
    for (int i = 0; i < kRowBlock; i += kWarp) {
      if (first + i < dim) largest = max(largest, __float_as_uint(q[first + i + lane]) & 0x7fffffff);
    }
    const float scale = __uint_as_float(row_scale_bits(__reduce_max_sync(kFullMask, largest)));
    __syncthreads();
    const int own = first + static_cast<int>(threadIdx.x);
    if (own < dim) q[own] = round_to_f8(q[own] * __uint_as_float(inverse_scale_bits(__float_as_uint(scale)))) * scale;
  }
  __syncthreads();
}

// T: element type of the cache
template <class T>
__global__ void __launch_bounds__(kWarps* kWarp, 1) general_attention_kernel(const AttentionTask task) {
  M2_SHARED(float, q, [kMostDim]);
  M2_SHARED(float, weights, [kWarps][2][kWarp]);  // two, in turn: nobody writes what others may still read
  M2_SHARED(float, parts, [kWarps][kMostDim + 2]);  // o, m, l
  ptx::let_next_kernel_start();
  ptx::wait_for_previous_kernel();
  const int token = blockIdx.x / task.heads, head = blockIdx.x % task.heads, warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  if (token >= task.cu_seqlens[task.sequences]) return;
  const KvCache& kv = task.kv;
  const int b = sequence_of(task, token), tokens = task.context_lens[b] - (task.cu_seqlens[b + 1] - token) + 1, dim = static_cast<int>(kv.head_dim);
  const int64_t place = static_cast<int64_t>(blockIdx.x) * dim;
  const int32_t* pages = task.page_tables + static_cast<int64_t>(task.table_rows[b]) * task.pages_per_row;
  const T* cache = static_cast<const T*>(kv.data);
  const int page_size = static_cast<int>(kv.page_size);
  const auto row_of = [&](int t) {
    return cache + (((pages[t / page_size] * kv.layers + task.layer) * 2 * kv.heads + head / task.group) * page_size + t % page_size) * dim;
  };
  const int64_t values_from_keys = kv.heads * kv.page_size * dim;
  for (int d = threadIdx.x; d < dim; d += kWarps * kWarp) q[d] = __bfloat162float(task.q[place + d]);
  __syncthreads();
  const bool rounds = sizeof(T) == 1 && task.rounds;
  if (rounds) round_head(q, dim);

  const int kv_head = head / task.group;
  const float positive_scale = score_scale(task, kv_head), scale = task.flip_sign ? -positive_scale : positive_scale, value_scale = kv.scale(task.layer, 1, kv_head);
  const float raise = rounds ? kRaise : 0;
  float o[kOwn] = {}, m = -kInfinity, l = 0;
  for (int first = warp * kWarp, turn = 0; first < tokens; first += kWarps * kWarp, turn ^= 1) {
    const int count = min(kWarp, tokens - first);
    const T* row = row_of(first + min(lane, count - 1));
    float score = 0;
    for (int d = 0; d < dim; d += 8) {
      float k[8];
      load_eight(row + d, k);
#pragma unroll
      for (int i = 0; i < 8; i++) score = fmaf(q[d + i], k[i], score);
    }
    score = lane < count ? score * scale : -kInfinity;
    float top = score;
#pragma unroll
    for (int step = kWarp / 2; step > 0; step /= 2) top = fmaxf(top, __shfl_xor_sync(kFullMask, top, step));
    const float next = fmaxf(m, top), base = next == -kInfinity ? 0 : next, keep = ptx::exp2_approx(m - base);
    m = next;
    weights[warp][turn][lane] = ptx::exp2_approx(score - (base - raise));
    __syncwarp();
    l *= keep;
#pragma unroll
    for (int i = 0; i < kOwn; i++) o[i] *= keep;
    for (int t = 0; t < count; t++) {
      const T* values = row_of(first + t) + values_from_keys;
      const float exact = weights[warp][turn][t], weight = rounds ? round_to_f8(exact) : exact;
      l += exact;
#pragma unroll
      for (int i = 0; i < kOwn; i++) {
        if (i * kWarp < dim) o[i] = fmaf(weight, load_one(values + i * kWarp + lane), o[i]);
      }
    }
  }

#pragma unroll
  for (int i = 0; i < kOwn; i++) {
    if (i * kWarp < dim) parts[warp][i * kWarp + lane] = o[i];
  }
  if (lane == 0) {
    parts[warp][kMostDim] = m;
    parts[warp][kMostDim + 1] = l;
  }
  __syncthreads();
  for (int d = threadIdx.x; d < dim; d += kWarps * kWarp) {
    float sum = 0, total_m = -kInfinity, total_l = 0;
    for (const auto& part : parts) {
      const Join join(total_m, part[kMostDim]);
      total_m = join.m;
      total_l = join(total_l, part[kMostDim + 1]);
      sum = join(sum, part[d]);
    }
    task.out[place + d] = __float2bfloat16_rn(sum / total_l * value_scale);
  }
}

}  // namespace

void general_attention(const Machine& m, const AttentionTask& task, int64_t tokens) {
  const Launch l{.grid = static_cast<unsigned>(tokens * task.heads), .block = kWarps * kWarp};
  switch (task.kv.dtype) {
    case DType::kF8E4m3: return launch<general_attention_kernel<f8>>(m, l, task);
    case DType::kBf16: return launch<general_attention_kernel<__nv_bfloat16>>(m, l, task);
    default: return launch<general_attention_kernel<float>>(m, l, task);
  }
}

}  // namespace m2::cuda
