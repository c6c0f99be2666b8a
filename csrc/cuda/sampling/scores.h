// A row's scores: logits, bias, penalties, then -inf for what the mask lacks and what is banned, all in float32 and in the CPU's order. They are never
// stored: ids come in groups of 128, four neighbours to a lane (which share a Philox block), and a warp that wants a group computes its scores anew.
// What is kept of a group (4 bytes for its largest logit and score each, and where options ask for it a sum and a reach) tells whether it is wanted.
#pragma once
#include "core/ops.h"
#include "core/philox.h"
#include "cuda/sampling/order.h"

namespace m2::cuda {

constexpr int kGroup = 128;       // ids
constexpr int kMostListed = 1024; // top-k up to here works on a sorted list, beyond on the whole row; alternatives are listed so many at a time

struct SampleTask {
  const float* logits;             // [N, V]
  const int32_t* banned;           // [words] or null
  const SamplingOptions* options;  // [N]
  const int32_t* rows;             // [N]
  int32_t *last_ids, *history;     // [R], [R, V] or null
  const int32_t* bias_offsets;     // [N + 1] or null
  const int32_t* bias_ids;
  const float* bias_values;
  const int32_t *mask_index, *mask_bits;  // [N] or null, [M, words]
  int32_t* ids;                    // [N]
  float* logprobs;                 // [N]
  int32_t* top_ids;                // [N, K]
  float* top_logprobs;             // [N, K]
  int vocab, words, groups, alternatives;
  // Of each group, [N, G]:
  uint32_t *logit_keys, *keys;     // its largest logit and score; kNanKey if one is a NaN
  double *logit_sums, *sums;       // of e^(logit - the group's largest), where logprobs are wanted; of weights relative to the largest, where top-p may need them
  float* reaches;                  // no score / temperature + noise lies higher above the group's largest score / temperature; for rows that are not listed
};

// e^exponent(x) is a token's probability over that of the largest. In float32, for sums; nothing in between overflows. The inverse of a temperature below
// any is the largest number: exponents are then off, but those of less than the largest are far below 0 and that of the largest is 0.
struct Exponent {
  __device__ __forceinline__ Exponent(float largest, float temperature) : half_largest(0.5f * largest), twice_inverse(fminf(2 / temperature, 3.4028235e38f)) {}
  __device__ __forceinline__ float operator()(float score) const { return fmaf(0.5f, score, -half_largest) * twice_inverse; }
  float half_largest, twice_inverse;
};

// The same in float64, as the CPU has it, for what decides.
__device__ __forceinline__ double exact_exponent(float score, float largest, float temperature) { return (static_cast<double>(score) - largest) / temperature; }

// The random words of ids 4 block .. 4 block + 3, and of one id.
__device__ __forceinline__ std::array<uint32_t, 4> random_words(const SamplingOptions& o, int block) {
  return philox({o.position, o.sample_index, static_cast<uint32_t>(block), 0}, {static_cast<uint32_t>(o.seed), static_cast<uint32_t>(o.seed >> 32)});
}
__device__ __forceinline__ uint32_t random_word(const SamplingOptions& o, int id) {
  const std::array<uint32_t, 4> words = random_words(o, id / 4);
  return id % 4 < 2 ? (id % 4 == 0 ? words[0] : words[1]) : (id % 4 == 2 ? words[2] : words[3]);
}

// Whether top-k leaves so few that they are listed.
__device__ __forceinline__ bool is_listed(const SamplingOptions& o, int vocab) { return o.top_k > 0 && o.top_k < vocab && o.top_k <= kMostListed; }

__device__ __forceinline__ bool has_penalties(const SamplingOptions& o) { return o.repetition_penalty != 1 || o.presence_penalty != 0 || o.frequency_penalty != 0; }

// Four numbers from `first` on, `beyond` for those behind the end. Rows begin at multiples of 16 bytes if V is one of 4.
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

// The logits of sample n and what is done to them.
class Row {
 public:
  __device__ __forceinline__ Row(const SampleTask& t, int64_t n, const SamplingOptions& o)
      : logits_(t.logits + n * t.vocab), history_(has_penalties(o) ? t.history + static_cast<int64_t>(t.rows[n]) * t.vocab : nullptr), banned_(t.banned), mask_(nullptr),
        bias_ids_(t.bias_ids), bias_values_(t.bias_values), bias_begin_(t.bias_offsets ? t.bias_offsets[n] : 0), bias_end_(t.bias_offsets ? t.bias_offsets[n + 1] : 0),
        repetition_(o.repetition_penalty), presence_(o.presence_penalty), frequency_(o.frequency_penalty), vocab_(t.vocab) {
    const int mask = t.mask_index ? t.mask_index[n] : -1;
    if (mask >= 0) mask_ = t.mask_bits + static_cast<int64_t>(mask) * t.words;
  }

  __device__ __forceinline__ bool has_mask() const { return mask_ != nullptr; }
  __device__ __forceinline__ float logit(int id) const { return logits_[id]; }

  // This lane's four logits.
  __device__ __forceinline__ void load(int group, float (&x)[4]) const {
    constexpr float kInfinity = __builtin_inff();
    load_four<float4>(logits_, first_id(group), vocab_, -kInfinity, x);
  }

  // From logits to scores. The whole warp comes.
  __device__ __forceinline__ void adjust(int group, float (&x)[4]) const {
    const int first = first_id(group);
    if (bias_begin_ < bias_end_) add_bias(first, group, x);
    if (history_) penalise(first, x);
    if ((mask_ || banned_) && first < vocab_) keep_allowed(first, x);
  }

 private:
  // Entries in their order: the one id may have several.
  __device__ __forceinline__ void add_bias(int first, int group, float (&x)[4]) const {
    for (int begin = bias_begin_; begin < bias_end_; begin += kWarp) {
      const int at = begin + threadIdx.x % kWarp;
      const int id = at < bias_end_ ? bias_ids_[at] : -1;
      const float value = at < bias_end_ ? bias_values_[at] : 0;
      for (unsigned hits = __ballot_sync(kFullMask, id >= 0 && id / kGroup == group); hits; hits &= hits - 1) {
        const int hit = __ffs(hits) - 1, offset = __shfl_sync(kFullMask, id, hit) - first;
        const float bias = __shfl_sync(kFullMask, value, hit);
#pragma unroll
        for (int i = 0; i < 4; i++) {
          if (offset == i) x[i] += bias;
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
  const int32_t *history_, *banned_, *mask_;
  const int32_t* bias_ids_;
  const float* bias_values_;
  int bias_begin_, bias_end_;
  float repetition_, presence_, frequency_;
  int vocab_;
};

}  // namespace m2::cuda
