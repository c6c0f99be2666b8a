// RMSNorm and what goes with it at the entrance of attention. Widths are multiples of 32: no tails but those of the rotated dims.
#pragma once
#include "cpu/kernels.h"
#include "cpu/simd/inline.h"

namespace m2::cpu {

// 1 / sqrt(mean(x^2) + eps)
template <class S>
M2_INLINE float inverse_rms(const float* x, int64_t width, float eps) {
  typename S::F even = S::zero(), odd = S::zero();
  for (int64_t i = 0; i < width; i += 2 * kLanes) {
    const typename S::F a = S::load(x + i), b = S::load(x + i + kLanes);
    even = S::fma(a, a, even);
    odd = S::fma(b, b, odd);
  }
  return 1 / __builtin_sqrtf(S::sum(S::add(even, odd)) / static_cast<float>(width) + eps);
}

template <class S>
void rms_norm(const NormTask& task, int64_t first, int64_t last) {
  for (int64_t row = first; row < last; row++) {
    const float* x = task.x + (task.rows ? task.rows[row] : row) * task.width;
    const typename S::F inverse = S::set(inverse_rms<S>(x, task.width, task.eps));
    for (int64_t i = 0; i < task.width; i += kLanes) {
      const typename S::F y = S::mul(S::mul(S::load(x + i), inverse), S::load(task.weight + i));
      if (task.out) S::store(task.out + row * task.width + i, y);
      if (task.out_bf16) S::store(task.out_bf16 + row * task.width + i, y);
    }
  }
}

// out = x * inverse * weight, the first `rotary` dims rotated in pairs (i, i + rotary / 2) by the token's cosines and sines
template <class S>
M2_INLINE void norm_rope_head(const float* x, const float* weight, float inverse, const float* rope, int64_t rotary, int64_t dim, float* out) {
  for (int64_t i = 0; i < dim; i += kLanes) S::store(out + i, S::mul(S::mul(S::load(x + i), S::set(inverse)), S::load(weight + i)));
  const int64_t half = rotary / 2;
  for (int64_t i = 0; i < half; i += kLanes) {
    const int lanes = static_cast<int>(half - i < kLanes ? half - i : kLanes);
    const typename S::F c = S::load_part(rope + i, lanes), s = S::load_part(rope + half + i, lanes);
    const typename S::F a = S::load_part(out + i, lanes), b = S::load_part(out + half + i, lanes);
    S::store_part(out + i, S::sub(S::mul(a, c), S::mul(b, s)), lanes);
    S::store_part(out + half + i, S::add(S::mul(b, c), S::mul(a, s)), lanes);
  }
}

template <class S, class T>
M2_INLINE void store_head(const float* x, int64_t dim, T* slot, float /*scale*/) {
  for (int64_t i = 0; i < dim; i += kLanes) S::store(slot + i, S::load(x + i));
}
template <class S>
M2_INLINE void store_head(const float* x, int64_t dim, f8* slot, float scale) {
  for (int64_t i = 0; i < dim; i++) slot[i] = to_f8(x[i] / scale);
}

template <class S, class T>
M2_INLINE void store_kv(const QkTask& task, int64_t slot, const float* k, const float* v, float k_inverse, const float* rope) {
  const int64_t dim = task.kv.head_dim, page = slot / task.kv.page_size, offset = slot % task.kv.page_size * dim;
  T* cache = static_cast<T*>(task.kv.data);
  for (int64_t h = 0; h < task.kv.heads; h++) {
    float head[kMaxHeadDim];
    norm_rope_head<S>(k + h * dim, task.k_weight + h * dim, k_inverse, rope, task.rotary, dim, head);
    store_head<S>(head, dim, cache + task.kv.tile(page, task.layer, 0, h) + offset, task.kv.scale(task.layer, 0, h));
    store_head<S>(v + h * dim, dim, cache + task.kv.tile(page, task.layer, 1, h) + offset, task.kv.scale(task.layer, 1, h));
  }
}

template <class S>
void qk_norm_rope_store(const QkTask& task, int64_t first, int64_t last) {
  const int64_t dim = task.kv.head_dim, q_width = task.heads * dim, k_width = task.kv.heads * dim;
  for (int64_t t = first; t < last; t++) {
    const float* q = task.qkv + t * (q_width + 2 * k_width);
    const float *k = q + q_width, *v = k + k_width, *rope = task.rope + task.positions[t] * task.rotary;
    const float q_inverse = inverse_rms<S>(q, q_width, task.eps), k_inverse = inverse_rms<S>(k, k_width, task.eps);
    for (int64_t h = 0; h < task.heads; h++) {
      norm_rope_head<S>(q + h * dim, task.q_weight + h * dim, q_inverse, rope, task.rotary, dim, task.q + t * q_width + h * dim);
    }
    if (task.slots[t] < 0) continue;
    switch (task.kv.dtype) {
      case DType::kF8E4m3: store_kv<S, f8>(task, task.slots[t], k, v, k_inverse, rope); break;
      case DType::kBf16: store_kv<S, bf16>(task, task.slots[t], k, v, k_inverse, rope); break;
      default: store_kv<S, float>(task, task.slots[t], k, v, k_inverse, rope);
    }
  }
}

template <class S>
void embed_row(const bf16* row, int64_t width, float* out) {
  for (int64_t i = 0; i < width; i += kLanes) S::store(out + i, S::load(row + i));
}

}  // namespace m2::cpu
