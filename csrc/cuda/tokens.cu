// What is done to each token alone: embedding, norms, rotation and the way into the cache. A block per token; each reads its row once and writes it once.
//   rms_norm:           out = x / sqrt(mean(x^2) + eps) * weight
//   qk_norm_rope_store: q and k so normed, each over its whole projection, the first R dims of every head rotated in pairs (i, i + R/2); k and v into their slot
// Sums of squares of rms_norm: norm.h; those of q and k are one chain for each of 256 threads too, over vectors of eight.
// Of few tokens what is waited for takes all the time: so weights, and what the step's inputs say, are asked for before the kernel in front has ended. They
// come from the host or from kernels that let nobody start early.
#include "cuda/float8.h"
#include "cuda/launch.h"
#include "cuda/launchers.h"
#include "cuda/norm.h"
#include "cuda/ptx/launch.h"

namespace m2::cuda {
namespace {

constexpr int kThreads = kNormChains;

__global__ void __launch_bounds__(kThreads) embed_kernel(const int32_t* token_ids, const int32_t* last_ids, const __nv_bfloat16* table, int width, float* out) {
  ptx::let_next_kernel_start();
  ptx::wait_for_previous_kernel();
  const int64_t token = blockIdx.x;
  const int id = token_ids[token];
  const __nv_bfloat16* row = table + static_cast<int64_t>(id < 0 ? last_ids[-1 - id] : id) * width;
  for (int i = threadIdx.x * 8; i < width; i += kThreads * 8) {
    float values[8];
    load_bf16x8(row + i, values);
    store_f32x8(out + token * width + i, values);
  }
}

__global__ void __launch_bounds__(kThreads)
    rms_norm_kernel(const float* x, const int32_t* rows, const float* weight, int width, float eps, float* out, __nv_bfloat16* out_bf16) {
  M2_SHARED(float, partial, [1][kThreads / kWarp]);
  ptx::let_next_kernel_start();
  constexpr int kKept = 4;  // vectors of a thread that stay in registers, of the weight and between the two passes: up to a width of 4096
  float4 kept[kKept], gains[kKept];
#pragma unroll
  for (int i = 0; i < kKept; i++) gains[i] = reinterpret_cast<const float4*>(weight)[min(static_cast<int>(threadIdx.x) + i * kThreads, width / 4 - 1)];
  ptx::wait_for_previous_kernel();
  const int64_t row = blockIdx.x;
  const float4* from = reinterpret_cast<const float4*>(x + (rows ? rows[row] : row) * width);
  float squares[1] = {0};
#pragma unroll
  for (int i = 0; i < kKept; i++) {
    const int at = threadIdx.x + i * kThreads;
    if (at >= width / 4) break;
    kept[i] = from[at];
    add_squares(kept[i], squares[0]);
  }
  for (int at = threadIdx.x + kKept * kThreads; at < width / 4; at += kThreads) add_squares(from[at], squares[0]);
  block_sums<kThreads>(squares, partial);
  const float inverse = inverse_root(squares[0], width, eps);

  const auto write = [&](int at, const float4& v, const float4& w) {
    const float4 y = normed(v, inverse, w);
    if (out) reinterpret_cast<float4*>(out + row * width)[at] = y;
    if (out_bf16) reinterpret_cast<uint2*>(out_bf16 + row * width)[at] = pack_bf16(y);
  };
#pragma unroll
  for (int i = 0; i < kKept; i++) {
    const int at = threadIdx.x + i * kThreads;
    if (at >= width / 4) break;
    write(at, kept[i], gains[i]);
  }
  for (int at = threadIdx.x + kKept * kThreads; at < width / 4; at += kThreads) write(at, from[at], reinterpret_cast<const float4*>(weight)[at]);
}

struct QkTask {
  const __nv_bfloat16* qkv;
  const float *q_weight, *k_weight, *rope;
  const int32_t *positions, *slots;
  float eps;
  int heads, rotary;
  int64_t layer;
  KvCache kv;
  __nv_bfloat16* q;
};

// Eight neighbouring dims of a head, from `dim` on, normed and, where they are among the rotated, turned. `head`: the head's values as they came.
__device__ __forceinline__ void norm_rope(const __nv_bfloat16* head, const float* weight, float inverse, const float* rope, int rotary, int dim, float (&out)[8]) {
  const auto norm = [&](float (&values)[8], int from) {
    load_bf16x8(head + from, values);
#pragma unroll
    for (int i = 0; i < 8; i++) values[i] = values[i] * inverse * weight[from + i];
  };
  const int half = rotary / 2;
  norm(out, dim);
  if (dim >= rotary) return;
  if (half % 8 == 0) {  // all eight turn the same way, with eight others
    const bool first = dim < half;
    float others[8];
    norm(others, first ? dim + half : dim - half);
    rope += first ? dim : dim - half;
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = first ? out[i] * rope[i] - others[i] * rope[half + i] : out[i] * rope[i] + others[i] * rope[half + i];
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; i++) {
    const int d = dim + i;
    if (d >= rotary) break;
    const bool first = d < half;
    const int pair = first ? d : d - half, other_at = first ? d + half : d - half;
    const float other = __bfloat162float(head[other_at]) * inverse * weight[other_at];
    out[i] = first ? out[i] * rope[pair] - other * rope[half + pair] : out[i] * rope[pair] + other * rope[half + pair];
  }
}

template <class T>
__device__ __forceinline__ void store_slot(const KvCache& kv, int64_t layer, int which, int head, int slot, int dim, const float (&values)[8]) {
  const int64_t page = slot / kv.page_size, offset = slot % kv.page_size;
  T* to = static_cast<T*>(kv.data) + (((page * kv.layers + layer) * 2 + which) * kv.heads + head) * kv.page_size * kv.head_dim + offset * kv.head_dim + dim;
  if constexpr (sizeof(T) == 4) {
    store_f32x8(to, values);
  } else if constexpr (sizeof(T) == 2) {
    store_bf16x8(to, values);
  } else {
    const float scale = kv.scale(layer, which, head);
    uint32_t words[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < 8; i++) words[i / 4] |= static_cast<uint32_t>(to_f8(values[i] / scale).bits) << i % 4 * 8;
    *reinterpret_cast<uint2*>(to) = {words[0], words[1]};
  }
}

// T: element type of the cache
template <class T>
__global__ void __launch_bounds__(kThreads) qk_norm_rope_store_kernel(const QkTask task) {
  M2_DYNAMIC_SHARED(shared);  // the q and k part of the row
  M2_SHARED(float, partial, [2][kThreads / kWarp]);
  ptx::let_next_kernel_start();
  const int64_t token = blockIdx.x;
  const int dim = static_cast<int>(task.kv.head_dim), q_width = task.heads * dim, k_width = static_cast<int>(task.kv.heads) * dim, normed_width = q_width + k_width;
  const int slot = task.slots[token];
  const float* rope = task.rope + static_cast<int64_t>(task.positions[token]) * task.rotary;
  prefetch_l2(rope, task.rotary);
  prefetch_l2(task.q_weight, q_width);
  prefetch_l2(task.k_weight, k_width);
  if (task.kv.scales) prefetch_l2(task.kv.scales + task.layer * 2 * task.kv.heads, static_cast<int>(2 * task.kv.heads));
  ptx::wait_for_previous_kernel();
  const __nv_bfloat16* row = task.qkv + token * (normed_width + k_width);
  __nv_bfloat16* kept = reinterpret_cast<__nv_bfloat16*>(shared);
  float squares[2] = {0, 0};  // of q and of k
  for (int at = threadIdx.x * 8; at < normed_width; at += kThreads * 8) {
    const uint4 raw = *reinterpret_cast<const uint4*>(row + at);
    *reinterpret_cast<uint4*>(kept + at) = raw;
    float values[8];
    load_bf16x8(reinterpret_cast<const __nv_bfloat16*>(&raw), values);
    float sum = at < q_width ? squares[0] : squares[1];
#pragma unroll
    for (int i = 0; i < 8; i++) sum = fmaf(values[i], values[i], sum);
    if (at < q_width) squares[0] = sum;
    else squares[1] = sum;
  }
  block_sums<kThreads>(squares, partial);  // and what is kept is there
  const float q_inverse = inverse_root(squares[0], q_width, task.eps), k_inverse = inverse_root(squares[1], k_width, task.eps);

  const int end = slot < 0 ? q_width : normed_width + k_width;
  for (int at = threadIdx.x * 8; at < end; at += kThreads * 8) {
    float values[8];
    if (at < q_width) {
      const int head = at / dim * dim;
      norm_rope(kept + head, task.q_weight + head, q_inverse, rope, task.rotary, at - head, values);
      store_bf16x8(task.q + token * q_width + at, values);
    } else if (at < normed_width) {
      const int in_k = at - q_width, head = in_k / dim;
      norm_rope(kept + q_width + head * dim, task.k_weight + head * dim, k_inverse, rope, task.rotary, in_k - head * dim, values);
      store_slot<T>(task.kv, task.layer, 0, head, slot, in_k - head * dim, values);
    } else {
      const int in_v = at - normed_width, head = in_v / dim;
      load_bf16x8(row + at, values);
      store_slot<T>(task.kv, task.layer, 1, head, slot, in_v - head * dim, values);
    }
  }
}

unsigned blocks(int64_t count) { return static_cast<unsigned>(count); }

}  // namespace

void embed(const Machine& m, const EmbedArgs& a) {
  launch<embed_kernel>(m, {.grid = blocks(a.token_ids.size(0)), .block = kThreads}, a.token_ids.as<int32_t>(), a.last_ids.rank ? a.last_ids.as<int32_t>() : nullptr,
                       bf16_data(a.table.data), static_cast<int>(a.table.size(1)), a.out.as<float>());
}

void rms_norm(const Machine& m, const RmsNormArgs& a) {
  float* out = a.out.dtype == DType::kF32 ? a.out.as<float>() : nullptr;
  __nv_bfloat16* out_bf16 = bf16_data(out ? a.out_bf16.data : a.out.data);
  launch<rms_norm_kernel>(m, {.grid = blocks(a.out.size(0)), .block = kThreads}, a.x.as<float>(), a.rows.rank ? a.rows.as<int32_t>() : nullptr, a.weight.as<float>(),
                          static_cast<int>(a.x.size(1)), a.eps, out, out_bf16);
}

void qk_norm_rope_store(const Machine& m, const QkNormRopeStoreArgs& a) {
  const QkTask task{bf16_data(a.qkv.data), a.q_weight.as<float>(), a.k_weight.as<float>(), a.rope.as<float>(), a.positions.as<int32_t>(), a.slot_mapping.as<int32_t>(), a.eps,
                    static_cast<int>(a.q.size(1)), static_cast<int>(a.rope.size(1)), a.layer, a.kv, bf16_data(a.q.data)};
  const size_t kept = static_cast<size_t>(a.q_weight.size(0) + a.k_weight.size(0)) * sizeof(bf16);
  const Launch l{.grid = blocks(a.q.size(0)), .block = kThreads, .shared = kept};
  switch (a.kv.dtype) {
    case DType::kF8E4m3: return launch<qk_norm_rope_store_kernel<f8>>(m, l, task);
    case DType::kBf16: return launch<qk_norm_rope_store_kernel<__nv_bfloat16>>(m, l, task);
    default: return launch<qk_norm_rope_store_kernel<float>>(m, l, task);
  }
}

}  // namespace m2::cuda
