// A row's scores: logits, bias, penalties, then -inf for what the mask lacks and what is banned, all in float32 and in the CPU's order. They are never
// stored: ids come in groups of 128, four neighbours to a lane (which share a Philox block), and a warp that wants a group computes its scores anew.
#pragma once
#include "core/ops.h"
#include "core/philox.h"
#include "cuda/sampling/order.h"

namespace m2::cuda {

constexpr int kGroup = 128;        // ids
constexpr int kMostListed = 1024;  // top-k up to here works on a sorted list, beyond on the whole row; alternatives are listed so many at a time

struct SampleTask {
  const float* logits;                    // [N, V]
  const int32_t* banned;                  // [words] or null
  const SamplingOptions* options;         // [N]
  const int32_t* rows;                    // [N]
  int32_t *last_ids, *history;            // [R], [R, V] or null
  const int32_t* bias_offsets;            // [N + 1] or null
  const int32_t* bias_ids;
  const float* bias_values;
  const int32_t *mask_index, *mask_bits;  // [N] or null, [M, words]
  const int32_t* targets;                 // [N] or null
  int32_t* ids;                           // [N]
  float* logprobs;                        // [N] or null
  int32_t* top_ids;                       // [N, K]
  float* top_logprobs;                    // [N, K]
  int vocab, words, groups, alternatives;
  // Of each group, [N, G]:
  uint32_t *logit_keys, *keys;  // of its largest logit and its largest score; kNanKey if one is a NaN
  double* logit_sums;           // of e^(logit - the group's largest), if logprobs are wanted
  // and for rows that are drawn but not listed:
  float* reaches;  // (score - the group's largest) / temperature + noise is nowhere in the group above this
  double* sums;    // of e^((score - the group's largest) / temperature), with top-p
};

__device__ __forceinline__ bool has_penalties(const SamplingOptions& o) {
  return o.repetition_penalty != 1 || o.presence_penalty != 0 || o.frequency_penalty != 0;
}

// Whether top-k leaves so few that they are listed.
__device__ __forceinline__ bool is_listed(const SamplingOptions& o, int vocab) { return o.top_k > 0 && o.top_k < vocab && o.top_k <= kMostListed; }

// What makes the noise of the four ids from `first` on, and of one id.
__device__ __forceinline__ std::array<uint32_t, 4> random_words(const SamplingOptions& o, int first) {
  return philox({o.position, o.sample_index, static_cast<uint32_t>(first) / 4, 0}, {static_cast<uint32_t>(o.seed), static_cast<uint32_t>(o.seed >> 32)});
}
__device__ __forceinline__ uint32_t random_word(const SamplingOptions& o, int id) {
  const std::array<uint32_t, 4> words = random_words(o, id);
  return id % 4 < 2 ? (id % 4 == 0 ? words[0] : words[1]) : (id % 4 == 2 ? words[2] : words[3]);
}

// Four numbers of a row from `first` on, `beyond` for those behind its end. Rows begin at multiples of 16 bytes if V is one of 4.
template <class Four, class T>
__device__ __forceinline__ void load_four(const T* row, int first, int vocab, T beyond, T (&values)[4]) {
#pragma unroll
  for (int i = 0; i < 4; i++) values[i] = beyond;
  if (vocab % 4 == 0) {
    if (first >= vocab) return;
    const Four four = *reinterpret_cast<const Four*>(row + first);
    values[0] = four.x, values[1] = four.y, values[2] = four.z, values[3] = four.w;
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if (first + i < vocab) values[i] = row[first + i];
  }
}

// The first of this lane's ids in a group.
__device__ __forceinline__ int first_id(int group) { return group * kGroup + static_cast<int>(threadIdx.x % kWarp) * 4; }

__device__ __forceinline__ void load_logits(const float* row, int group, int vocab, float (&x)[4]) {
  load_four<float4>(row, first_id(group), vocab, -__builtin_inff(), x);
}

// The logits of sample n and what is done to them.
class ScoreRow {
 public:
  __device__ __forceinline__ ScoreRow(const SampleTask& t, int64_t n, const SamplingOptions& o)
      : logits_(t.logits + n * t.vocab), vocab_(t.vocab), banned_(t.banned), repetition_(o.repetition_penalty), presence_(o.presence_penalty),
        frequency_(o.frequency_penalty) {
    if (has_penalties(o)) history_ = t.history + static_cast<int64_t>(t.rows[n]) * t.vocab;
    const int mask = t.mask_index ? t.mask_index[n] : -1;
    if (mask >= 0) mask_ = t.mask_bits + static_cast<int64_t>(mask) * t.words;
    if (!t.bias_offsets) return;
    const int first = t.bias_offsets[n];
    biases_ = t.bias_offsets[n + 1] - first;
    bias_ids_ = t.bias_ids + first;
    bias_values_ = t.bias_values + first;
  }

  __device__ __forceinline__ bool has_mask() const { return mask_ != nullptr; }
  __device__ __forceinline__ float logit(int id) const { return logits_[id]; }

  // This lane's four logits of a group.
  __device__ __forceinline__ void load(int group, float (&x)[4]) const { load_logits(logits_, group, vocab_, x); }

  // From logits to scores. The whole warp comes.
  __device__ __forceinline__ void adjust(int group, float (&x)[4]) const {
    const int first = first_id(group);
    if (biases_ > 0) add_biases(group, first, x);
    if (history_) penalise(first, x);
    if ((mask_ || banned_) && first < vocab_) keep_allowed(first, x);
  }

 private:
  // In the order of the entries: an id may have several.
  __device__ __forceinline__ void add_biases(int group, int first, float (&x)[4]) const {
    for (int begin = 0; begin < biases_; begin += kWarp) {
      const int at = begin + static_cast<int>(threadIdx.x % kWarp);
      const int id = at < biases_ ? bias_ids_[at] : -1;
      const float value = at < biases_ ? bias_values_[at] : 0;
      for (unsigned hits = __ballot_sync(kFullMask, id >= 0 && id / kGroup == group); hits; hits &= hits - 1) {
        const int hit = __ffs(hits) - 1, place = __shfl_sync(kFullMask, id, hit) - first;
        const float bias = __shfl_sync(kFullMask, value, hit);
#pragma unroll
        for (int i = 0; i < 4; i++) {
          if (place == i) x[i] += bias;
        }
      }
    }
  }

  __device__ __forceinline__ void penalise(int first, float (&x)[4]) const {
    int32_t seen[4];
    load_four<int4>(history_, first, vocab_, 0, seen);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (seen[i] == 0) continue;
      const int count = seen[i] / 2;
      x[i] = x[i] > 0 ? x[i] / repetition_ : x[i] * repetition_;
      if (count > 0) x[i] -= presence_ + frequency_ * static_cast<float>(count);
    }
  }

  __device__ __forceinline__ void keep_allowed(int first, float (&x)[4]) const {
    const int word = first / 32;
    const uint32_t allowed = static_cast<uint32_t>((mask_ ? mask_[word] : -1) & ~(banned_ ? banned_[word] : 0)) >> first % 32;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if ((allowed >> i & 1) == 0) x[i] = -__builtin_inff();
    }
  }

  const float* logits_;
  int vocab_, biases_ = 0;
  const int32_t *banned_, *history_ = nullptr, *mask_ = nullptr, *bias_ids_ = nullptr;
  const float* bias_values_ = nullptr;
  float repetition_, presence_, frequency_;
};

}  // namespace m2::cuda
