// The sizes of a MiniMax-M2-shaped model and of what serves it.
#pragma once
#include <cstdint>
#include <vector>

#include "core/dtype.h"

namespace m2 {

struct Geometry {
  int64_t vocab, hidden, layers, heads, kv_heads, head_dim, rotary_dim, experts, experts_per_token, expert_hidden;
  double rope_theta;
  float rms_norm_eps;

  int64_t vocab_words() const { return (vocab + 31) / 32; }  // of a bitset over the vocabulary
  int64_t q_size() const { return heads * head_dim; }
  int64_t kv_size() const { return kv_heads * head_dim; }
  int64_t qkv_size() const { return q_size() + 2 * kv_size(); }
};

struct Capacity {
  DType kv_dtype;
  int64_t page_size;          // tokens
  int64_t pages;
  int64_t max_context;        // tokens per sequence
  int64_t max_sequences;      // rows of the persistent batch
  int64_t max_step_tokens;
  std::vector<int32_t> banned_ids;  // never sampled
  bool keep_routes;           // steps give back which experts their tokens went to

  int64_t pages_per_row() const { return (max_context + page_size - 1) / page_size; }
};

// Throws BAD_CHECKPOINT or BAD_OPTION for sizes that the core cannot run. TypeScript has said so before, in the words of the file or option.
void check(const Geometry&);
void check(const Capacity&, const Geometry&);

}  // namespace m2
