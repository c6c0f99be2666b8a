// One chunk of context for up to 48 (query, head) rows that share a KV head:
//   scores = q K^T * scale   from K^T of 64 tokens at a time in scratch (f32 [D][64]), so 16 tokens are one vector and no sum crosses lanes
//   state  = largest score, sum of e^(score - largest), sum of e^(score - largest) v, with V read where it lies, but e4m3 of
//                            several tiles of rows from scratch, where it lies once as float32
// A row is worked on up to its own position and no further: what stands behind it is not read, or (in K of a later query) read and then replaced.
// Every sum runs over d, or over tokens, in order from the chunk's start, whatever the rows beside it; states of chunks are merged in order.
#pragma once
#include "cpu/kernels.h"
#include "cpu/simd/math.h"

namespace m2::cpu {

constexpr int kScoreBlock = 64;  // tokens of K^T in scratch

// Asks for rows of K or V ahead of their use, a few lines at each step of the arithmetic, so that memory and arithmetic go on side by side: the rows lie in
// pages, in an order that no hardware foresees.
template <class T>
struct Ahead {
  static constexpr int64_t kLine = 64 / sizeof(T);
  const T* const* rows;
  int64_t row, last, dim, element = 0;

  M2_INLINE void ask() {
    for (int line = 0; line < 4; line++) {
      if (row >= last) return;
      __builtin_prefetch(rows[row] + element);
      element += kLine;
      if (element >= dim) {
        element = 0;
        row++;
      }
    }
  }
};

// out[r] (+)= sum over i in [first, last) of a[r][i] * b(i)[0 .. P * 16): a small float32 matrix product
template <class S, int R, int P, class B>
M2_INLINE void accumulate_tile(const float* const* a, const B& b, int64_t column, int64_t first, int64_t last, float* const* out) {
  typename S::F acc[R][P];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 8
    for (int p = 0; p < P; p++) acc[r][p] = first == 0 ? S::zero() : S::load(out[r] + column + p * kLanes);
  }
  for (int64_t i = first; i < last; i++) {
    const auto* row = b(i) + column;
    typename S::F v[P];
#pragma GCC unroll 8
    for (int p = 0; p < P; p++) v[p] = S::load(row + p * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const typename S::F x = S::set(a[r][i]);
#pragma GCC unroll 8
      for (int p = 0; p < P; p++) acc[r][p] = S::fma(x, v[p], acc[r][p]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 8
    for (int p = 0; p < P; p++) S::store(out[r] + column + p * kLanes, acc[r][p]);
  }
}

// The same for R rows and any number of columns that is a multiple of 32.
template <class S, int R, class B>
void accumulate_rows(const float* const* a, const B& b, int64_t columns, int64_t first, int64_t last, float* const* out) {
  constexpr int kWide = 4 * R <= S::kTileAccumulators ? 4 : 2 * R <= S::kTileAccumulators ? 2 : 1;
  int64_t column = 0;
  for (; column + kWide * kLanes <= columns; column += kWide * kLanes) accumulate_tile<S, R, kWide>(a, b, column, first, last, out);
  for (; column < columns; column += kLanes) accumulate_tile<S, R, 1>(a, b, column, first, last, out);
}

template <class S, class B, int R = S::kTileRows>
M2_INLINE void accumulate(int rows, const float* const* a, const B& b, int64_t columns, int64_t first, int64_t last, float* const* out) {
  if constexpr (R > 1) {
    if (rows != R) return accumulate<S, B, R - 1>(rows, a, b, columns, first, last, out);
  }
  accumulate_rows<S, R>(a, b, columns, first, last, out);
}

// K of 16 tokens, transposed: out[d][0 .. 16) of rows of kScoreBlock floats; tokens that are null give zeros.
template <class S>
M2_INLINE void transpose_keys(const bf16* const* tokens, int64_t dim, float* out) {
  for (int64_t d = 0; d < dim; d += 32) {
    typename S::I words[16];
    for (int j = 0; j < 16; j++) words[j] = S::load_words(tokens[j] + d);
    S::transpose(words);
    for (int j = 0; j < 16; j++) {
      S::store(out + (d + 2 * j) * kScoreBlock, S::low(words[j]));
      S::store(out + (d + 2 * j + 1) * kScoreBlock, S::high(words[j]));
    }
  }
}
template <class S>
M2_INLINE void transpose_keys(const float* const* tokens, int64_t dim, float* out) {
  for (int64_t d = 0; d < dim; d += 16) {
    typename S::I words[16];
    for (int j = 0; j < 16; j++) words[j] = S::load_words(tokens[j] + d);
    S::transpose(words);
    for (int j = 0; j < 16; j++) S::store(out + (d + j) * kScoreBlock, S::floats(words[j]));
  }
}

template <class S>
M2_INLINE void transpose_keys(const f8* const* tokens, int64_t dim, float* out) {
  float rows[16][kLanes];
  for (int64_t d = 0; d < dim; d += kLanes) {
    typename S::I words[16];
    for (int j = 0; j < 16; j++) S::store(rows[j], S::load(tokens[j] + d));
    for (int j = 0; j < 16; j++) words[j] = S::load_words(rows[j]);
    S::transpose(words);
    for (int j = 0; j < 16; j++) S::store(out + (d + j) * kScoreBlock, S::floats(words[j]));
  }
}

// scores -> e^(score * scale - largest) of the first n of them, zeros up to the next multiple of 16; the head of a state: sum, largest
template <class S>
M2_INLINE void softmax_part(float* scores, int n, float scale, float* state) {
  using F = typename S::F;
  const F lowest = S::set(-__builtin_inff()), factor = S::set(scale);
  F largest = lowest;
  for (int i = 0; i < n; i += kLanes) {
    const F s = S::first(n - i < kLanes ? n - i : kLanes, S::mul(S::load(scores + i), factor), lowest);
    S::store(scores + i, s);
    largest = S::max(s, largest);
  }
  const F top = S::set(S::largest(largest));
  F sum = S::zero();
  for (int i = 0; i < n; i += kLanes) {
    const F p = S::first(n - i < kLanes ? n - i : kLanes, exp<S>(S::sub(S::load(scores + i), top)), S::zero());
    S::store(scores + i, p);
    sum = S::add(sum, p);
  }
  state[0] = S::sum(sum);
  state[1] = S::largest(largest);
}

// Weights of at most 1 as 2^-8 of the nearest e4m3: three bits behind the first, the last of them no less than 2^-17. Adding 3 2^19 times a number's power of 2
// leaves no room for more.
inline void round_weights(float* weights, int n) {
  for (int i = 0; i < n; i++) {
    const float power = __builtin_bit_cast(float, __builtin_bit_cast(uint32_t, weights[i]) & 0x7f800000u), above = (power < 0x1p-14f ? 0x1p-14f : power) * 0x1.8p20f;
    weights[i] = weights[i] + above - above;
  }
}

template <class S, class T>
void attend_in(const AttentionTask& task, int64_t chunk, float* states, float* scratch) {
  const int64_t dim = task.kv.head_dim, page_size = task.kv.page_size, stride = state_floats(dim);
  const int64_t first_token = chunk * kContextChunk, rows = task.last_row - task.first_row;
  float *keys = scratch, *scores = keys + kScoreBlock * kMaxHeadDim;

  // How many of the chunk's tokens a row sees; rows come by query, so this never falls and the last row sees the most.
  int visible[kAttentionRows];
  const float *q[kAttentionRows], *weights[kAttentionRows];
  float *score_rows[kAttentionRows], *sums[kAttentionRows];
  int64_t blind = 0;  // rows that see nothing of it
  for (int64_t i = 0; i < rows; i++) {
    const int64_t query = (task.first_row + i) / task.group, head = task.kv_head * task.group + (task.first_row + i) % task.group;
    const int64_t seen = task.first_position + query + 1 - first_token;
    visible[i] = static_cast<int>(seen < 0 ? 0 : seen < kContextChunk ? seen : kContextChunk);
    q[i] = task.q + (query * task.heads + head) * dim;
    weights[i] = score_rows[i] = scores + i * kContextChunk;
    sums[i] = states + i * stride + kLanes;
    if (visible[i] == 0) {
      states[i * stride] = 0;
      blind = i + 1;
    }
  }
  if (blind == rows) return;
  const int tokens = visible[rows - 1];
  const int64_t tiles = (rows - blind + S::kTileRows - 1) / S::kTileRows;  // of nearly equal heights

  const T *k[kContextChunk], *v[kContextChunk];
  for (int i = 0; i < tokens; i++) {
    const int64_t token = first_token + i, page = task.pages[token / page_size], offset = token % page_size * dim;
    k[i] = static_cast<const T*>(task.kv.data) + task.kv.tile(page, task.layer, 0, task.kv_head) + offset;
    v[i] = static_cast<const T*>(task.kv.data) + task.kv.tile(page, task.layer, 1, task.kv_head) + offset;
  }
  for (int i = tokens; i % kLanes; i++) k[i] = k[tokens - 1];  // fill a vector; its scores are replaced

  for (int first = 0; first < tokens; first += kScoreBlock) {
    const int count = tokens - first < kScoreBlock ? (tokens - first + kLanes - 1) / kLanes * kLanes : kScoreBlock;
    for (int i = 0; i < count; i += kLanes) transpose_keys<S>(k + first + i, dim, keys + i);
    const int next = first + kScoreBlock;
    Ahead<T> ahead = next < tokens ? Ahead<T>{k, next, tokens, dim} : Ahead<T>{v, 0, tokens < kScoreBlock ? tokens : kScoreBlock, dim};
    const auto key_at = [&](int64_t d) M2_INLINE_LAMBDA {
      ahead.ask();
      return keys + d * kScoreBlock;
    };
    float* out[S::kTileRows];
    for (int64_t tile = 0, row = blind; tile < tiles; tile++) {
      const int64_t end = blind + (rows - blind) * (tile + 1) / tiles;
      for (int64_t r = row; r < end; r++) out[r - row] = score_rows[r] + first;
      if (visible[end - 1] > first) accumulate<S>(static_cast<int>(end - row), q + row, key_at, count, 0, dim, out);
      row = end;
    }
  }

  for (int64_t row = blind; row < rows; row++) {
    softmax_part<S>(score_rows[row], visible[row], task.scale, states + row * stride);
    if (task.rounds) round_weights(score_rows[row], visible[row]);
  }

  const auto add_values = [&](const auto& value_at) M2_INLINE_LAMBDA {
    for (int64_t tile = 0, row = blind; tile < tiles; tile++) {
      const int64_t end = blind + (rows - blind) * (tile + 1) / tiles;
      const int common = visible[row];
      accumulate<S>(static_cast<int>(end - row), weights + row, value_at, dim, 0, common, sums + row);
      for (int64_t r = row; r < end; r++) {  // later queries go on alone
        if (visible[r] > common) accumulate<S>(1, weights + r, value_at, dim, common, visible[r], sums + r);
      }
      row = end;
    }
  };
  Ahead<T> ahead{v, kScoreBlock, tokens, dim};
  if constexpr (sizeof(T) == 1) {
    if (tiles > 1) {  // e4m3 is widened once for all of them
      float* wide = scores + kAttentionRows * kContextChunk;
      for (int i = 0; i < tokens; i++) {
        ahead.ask();
        for (int64_t d = 0; d < dim; d += kLanes) S::store(wide + i * dim + d, S::load(v[i] + d));
      }
      return add_values([&](int64_t i) M2_INLINE_LAMBDA { return wide + i * dim; });
    }
  }
  add_values([&](int64_t i) M2_INLINE_LAMBDA {
    ahead.ask();
    return v[i];
  });
}

template <class S>
void attend(const AttentionTask& task, int64_t chunk, float* states, float* scratch) {
  switch (task.kv.dtype) {
    case DType::kF8E4m3: return attend_in<S, f8>(task, chunk, states, scratch);
    case DType::kBf16: return attend_in<S, bf16>(task, chunk, states, scratch);
    default: return attend_in<S, float>(task, chunk, states, scratch);
  }
}

template <class S>
void merge_states(float* into, const float* states, int64_t rows, int64_t dim) {
  using F = typename S::F;
  const int64_t stride = state_floats(dim);
  for (int64_t i = 0; i < rows; i++, into += stride, states += stride) {
    if (states[0] == 0) continue;
    if (into[0] == 0) {
      __builtin_memcpy(into, states, stride * sizeof(float));
      continue;
    }
    const F a = S::set(into[1]), b = S::set(states[1]), largest = S::max(a, b);
    const F keep = exp<S>(S::sub(a, largest)), take = exp<S>(S::sub(b, largest));
    S::store_part(into, S::fma(S::set(states[0]), take, S::mul(S::set(into[0]), keep)), 1);
    S::store_part(into + 1, largest, 1);
    for (int64_t d = kLanes; d < stride; d += kLanes) {
      S::store(into + d, S::fma(S::load(states + d), take, S::mul(S::load(into + d), keep)));
    }
  }
}

template <class S>
void write_attention(const AttentionTask& task, const float* states) {
  const int64_t dim = task.kv.head_dim;
  for (int64_t i = task.first_row; i < task.last_row; i++, states += state_floats(dim)) {
    const int64_t query = i / task.group, head = task.kv_head * task.group + i % task.group;
    float* out = task.out + (query * task.heads + head) * dim;
    for (int64_t d = 0; d < dim; d += kLanes) S::store(out + d, S::mul(S::div(S::load(states + kLanes + d), S::set(states[0])), S::set(task.value_scale)));
  }
}

}  // namespace m2::cpu
