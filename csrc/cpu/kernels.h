// What is compiled once per instruction set: a table of the inner loops, over raw pointers, each for a part of an op that one thread does alone. The
// loops are templates in kernels/, over the wrappers of simd/; the launchers (gemm.cc, attention.cc, ...) cut the ops into parts.
#pragma once
#include <cstdint>
#include <string>

#include "core/ops.h"

namespace m2::cpu {

inline constexpr int kLanes = 16;

// --- packed weights and matrix products (kernels/gemm.h)
inline constexpr int64_t kPanel = kLanes;                // outputs per panel
inline constexpr int64_t kGemmRows = 512;                // rows of x that one task takes, at most
inline constexpr int64_t kGemmScratch = kGemmRows * 4 * kPanel;  // floats

enum class Epilogue { kStore, kAdd, kSwiGlu };

// One expert's panels, as weights.cc has them.
struct Panels {
  WeightType type;
  void* data;
  void* scales;    // null where there are none
  uint8_t* zeros;  // of int4; null: 8 everywhere
};

struct GemmTask {
  const void* x;          // bf16 or f32; row i of the product is row i of x, or row source[i] / slots
  const int32_t* source;
  int64_t slots;
  int64_t k;
  Panels weight;
  int64_t width;          // of an out row: what lies beyond is padding
  Epilogue epilogue;
  void* out;              // [.., width] f32; kSwiGlu: bf16
  int64_t first_row, last_row, first_panel, last_panel;
};

// 16 rows of a host tensor, or fewer at the edges, into one panel.
struct PackTask {
  const void* rows;  // [count, k], or [count, k / 2] of codes
  DType dtype;       // f8 rows and codes stay so, all others become bf16
  int64_t k;
  void* panel;
  int first_lane, count;
};

// --- attention (kernels/attention.h)
inline constexpr int64_t kContextChunk = 256;  // tokens: softmax starts anew at each multiple, and the parts are merged in order
inline constexpr int64_t kAttentionRows = 48;  // (query, head) rows of one task
inline constexpr int64_t kMaxHeadDim = 256;
// What a row knows of a part of its context: sum of e^(score - largest), the largest score, and D sums of e^(score - largest) v.
inline constexpr int64_t state_floats(int64_t head_dim) { return head_dim + kLanes; }
inline constexpr int64_t kAttentionScratch =
    64 * kMaxHeadDim + kAttentionRows * kContextChunk + kContextChunk * kMaxHeadDim + 2 * kAttentionRows * state_floats(kMaxHeadDim);

// Rows of one sequence and one KV head. Row i: query i / group, head kv_head * group + i % group.
struct AttentionTask {
  const float* q;  // [queries, heads, D] of the sequence
  float* out;      // the same
  int64_t heads, group, kv_head;
  KvCache kv;
  int64_t layer;
  const int32_t* pages;   // of the sequence
  int64_t first_position; // of query 0
  float scale, value_scale;  // of scores, with that of K in it; of results
  int64_t first_row, last_row;
  bool rounds;  // weights; q is rounded
};

// --- norms, embedding, experts
struct NormTask {
  const float* x;
  const int32_t* rows;  // or null
  const float* weight;
  int64_t width;
  float eps;
  float* out;      // or null
  bf16* out_bf16;  // or null
};

struct QkTask {
  const float *qkv, *q_weight, *k_weight, *rope;
  const int32_t *positions, *slots;
  int64_t heads, rotary, layer;
  float eps;
  KvCache kv;
  float* q;
};

struct RouteTask {
  const float *x, *gate, *bias;
  int64_t width, experts, active;
  float* scores;  // [T, E]
  int32_t* expert_ids;
  float* weights;
};

struct UnpermuteTask {
  const float* y;
  const int32_t* target;
  const float* weights;
  int64_t active, width;
  float* out;
};

struct RowFacts {
  float largest;
  bool has_nan;
};

struct Kernels {
  const char* name;

  void (*pack)(const PackTask&);
  void (*gemm_f32)(const GemmTask&, float* scratch);   // x in float32: fused multiply-adds with the widened weights
  void (*gemm_bf16)(const GemmTask&, float* scratch);  // x in bf16: products of pairs, where the machine has them

  // The states of the task's rows for one chunk of the context; scratch as kAttentionScratch, of which the states may be the last part.
  void (*attend)(const AttentionTask&, int64_t chunk, float* states, float* scratch);
  // into += states of the next chunk, row by row; a row that sees nothing of the chunk stays as it is.
  void (*merge_states)(float* into, const float* states, int64_t rows, int64_t head_dim);
  void (*write_attention)(const AttentionTask&, const float* states);

  void (*embed_row)(const bf16* row, int64_t width, float* out);
  void (*rms_norm)(const NormTask&, int64_t first, int64_t last);
  void (*qk_norm_rope_store)(const QkTask&, int64_t first, int64_t last);
  // scores of tokens x experts; then the chosen experts of tokens
  void (*route_scores)(const RouteTask&, int64_t first_token, int64_t last_token, int64_t first_expert, int64_t last_expert);
  void (*route_choose)(const RouteTask&, int64_t first_token, int64_t last_token);
  void (*unpermute)(const UnpermuteTask&, int64_t first, int64_t last);

  RowFacts (*row_facts)(const float* x, int64_t n);
  // sum of e^((x - largest) * factor)
  double (*sum_exp)(const float* x, int64_t n, float largest, float factor);
  // the first i in begin..end-1 with x[i] > bound, or end
  int64_t (*find_greater)(const float* x, int64_t begin, int64_t end, float bound);

  // Loops that do nothing but what a machine is best at (kernels/ceilings.h): reading bytes; the instructions that products use. sink: 12 x 16 floats.
  uint32_t (*read)(const void* data, int64_t bytes);
  int64_t (*multiply_f32)(int64_t steps, float* sink);
  int64_t (*multiply_bf16)(int64_t steps, float* sink);
};

extern const Kernels kPlainKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels, kAvx512Kernels;
#endif

// The best that this machine has, or what M2_CPU_ISA names: avx512, avx2 or plain. Throws DEVICE_UNAVAILABLE for another name or one that the machine
// does not have.
const Kernels& choose_kernels();

}  // namespace m2::cpu
