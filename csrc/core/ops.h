// The Backend: every operation of the layer list, one args record each, validated once in front (ops.cc), executed by exactly one level of
// subclasses (cpu; later cuda, also compiled as "emulated").
//
// Letters: T tokens in step, B sequences, N rows to sample, C hidden, Hq and Hk query and KV heads, D head dim, R rotary dims, E experts, A experts per
// token, F expert hidden, V vocabulary, P pages, S page size, L layers. Views are contiguous and row-major. C, F and every K are multiples of 32, D is
// 32 to 256 in steps of 32.
//
// Numbers: the residual stream, norms, attention, router and all sums are float32, weights are bf16. Dense products take their input in float32: it is
// around attention that rounding of activations costs most. Experts, where the arithmetic is, take it in bf16. Bit-identity: a row's result
// does not depend on which other rows are in the call, nor on the number of threads: sums over K (and over the context) run in one fixed order.
#pragma once
#include <memory>
#include <string>

#include "core/view.h"

namespace m2 {

// How the rows of a packed weight are arranged. kGateUp: a matrix of 2F rows, gate rows [0, F) and up rows [F, 2F); the backend may interleave
// them so that one tile holds a gate and its up.
enum class WeightLayout { kRows, kGateUp };

// A bf16 weight matrix [experts, n, k] in the backend's own layout (y = x W^T). experts is 1 for a dense product.
struct Weight {
  Buffer data;
  int64_t experts = 0, n = 0, k = 0;
  WeightLayout layout = WeightLayout::kRows;
};

// The paged KV cache: [P][L][K|V][Hk][S][D]; a (page, layer, K or V, head) tile is one contiguous box [S][D]. dtype f32 or bf16.
struct KvCache {
  void* data = nullptr;
  DType dtype = DType::kBf16;
  int64_t pages = 0, layers = 0, heads = 0, page_size = 0, head_dim = 0;

  int64_t tile_elements() const { return page_size * head_dim; }
  int64_t page_elements() const { return layers * 2 * heads * tile_elements(); }
  // Element offset of a tile. which: 0 for K, 1 for V.
  int64_t tile(int64_t page, int64_t layer, int64_t which, int64_t head) const {
    return (((page * layers + layer) * 2 + which) * heads + head) * tile_elements();
  }
};

// out[t] = table[token_ids[t]]
struct EmbedArgs {
  View token_ids;  // [T] i32, each in 0..V-1
  View table;      // [V, C] bf16
  View out;        // [T, C] f32
};

// out[i] = x[r] / sqrt(mean(x[r]^2) + eps) * weight, r = rows ? rows[i] : i
struct RmsNormArgs {
  View x;        // [T, C] f32
  View rows;     // [M] i32 or empty: which rows of x (M = T when empty)
  View weight;   // [C] f32
  float eps;
  View out;      // [M, C] f32
  View out_bf16; // [M, C] bf16 or empty: the same rounded, for the experts
};

// out = x W^T, or out += x W^T
struct LinearArgs {
  View x;  // [T, K] f32
  const Weight* weight = nullptr;  // [1, N, K] kRows
  View out;                        // [T, N] f32
  bool accumulate = false;
};

// RMSNorm over the whole q and the whole k projection, half-split RoPE on the first R dims of each head (pairs (i, i + R/2)), then K and V go to their slots.
struct QkNormRopeStoreArgs {
  View qkv;           // [T, (Hq + 2 Hk) D] f32: q heads, k heads, v heads
  View q_weight;      // [Hq D] f32
  View k_weight;      // [Hk D] f32
  float eps;
  View positions;     // [T] i32
  View rope;          // [max positions, R] f32: R/2 cosines, then R/2 sines
  View slot_mapping;  // [T] i32: page * S + offset, or -1: do not store
  KvCache kv;
  int64_t layer;
  View q;             // out [T, Hq, D] f32
};

// Causal grouped-query attention over the paged cache. Query j of sequence b stands at position context_lens[b] - q_len + j and sees itself and all before.
struct AttentionArgs {
  View q;             // [T, Hq, D] f32
  KvCache kv;
  int64_t layer;
  View page_tables;   // [rows, pages per row] i32
  View rows;          // [B] i32: the page table row of each sequence
  View cu_seqlens_q;  // [B + 1] i32
  View context_lens;  // [B] i32, new tokens included
  float scale;
  View out;           // [T, Hq D] f32
};

// scores = sigmoid(x gate^T); the A experts with the largest scores + bias (ties: the lower index), in that order; weights = their scores / their sum
struct RouteArgs {
  View x;           // [T, C] f32
  View gate;        // [E, C] f32
  View bias;        // [E] f32
  View expert_ids;  // out [T, A] i32
  View weights;     // out [T, A] f32
};

// Counting sort of the T*A (token, slot) pairs by expert, stable in t*A+a.
struct PermuteArgs {
  View expert_ids;  // [T, A] i32
  View offsets;     // out [E + 1] i32: the rows of expert e are offsets[e] .. offsets[e+1]-1
  View source;      // out [T*A] i32: permuted row -> t*A+a
  View target;      // out [T, A] i32: t*A+a -> permuted row
};

// out[row] = silu(x[t] W1^T) * (x[t] W3^T) with row's expert, t = source[row] / A
struct GroupedGateUpArgs {
  View x;        // [T, C] bf16
  View source;   // [T*A] i32
  View offsets;  // [E + 1] i32
  const Weight* weight = nullptr;  // [E, 2F, C] kGateUp
  View out;                        // [T*A, F] bf16
};

// out[row] = x[row] W2^T with row's expert
struct GroupedLinearArgs {
  View x;        // [T*A, F] bf16
  View offsets;  // [E + 1] i32
  const Weight* weight = nullptr;  // [E, C, F] kRows
  View out;                        // [T*A, C] f32
};

// out[t] += sum over a (in the order of a) of weights[t, a] * y[target[t, a]]
struct UnpermuteArgs {
  View y;        // [T*A, C] f32
  View target;   // [T, A] i32
  View weights;  // [T, A] f32
  View out;      // [T, C] f32
};

// The tokens a row has seen, for the penalties. counts[v]: how often v was generated; in_prompt[v]: whether the prompt holds v.
struct TokenHistory {
  const int32_t* generated_counts = nullptr;  // [V] or null: no history
  const uint8_t* in_prompt = nullptr;         // [V]
};

// One sampled row's options. Neutral values: temperature 1, top_k 0, top_p 1, min_p 0, repetition 1, presence 0, frequency 0.
struct SamplingOptions {
  float temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
  int32_t top_k, logprobs;  // logprobs: -1 none, else how many alternatives
  uint64_t seed;
  uint32_t position, sample_index;
};

// For each row: logprobs of the raw logits; then bias, repetition penalty (seen in prompt or output: logit / r if > 0 else * r), frequency and presence
// penalties (generated tokens); then only what the row's mask holds and is not banned can come; temperature 0: argmax (ties: lowest id); else logits /
// temperature, top-k (0: off), top-p over what is left (the smallest set of most probable tokens whose sum reaches top_p, ties by id), min-p (probability
// >= min_p * the largest), and one draw from the rest by Gumbel-max: argmax of logit/temperature - log(-log(u(id))), u from Philox4x32-10 with key seed
// and counter (position, sample index, id / 4, 0), word id % 4, u = (word + 0.5) * 2^-32. The largest of perturbed logits does not depend on an order of
// summation, so every device draws the same.
struct SampleArgs {
  View logits;                                // [N, V] f32, not modified
  View banned;                                // [ceil(V/32)] i32 bitset or empty: ids never sampled
  const SamplingOptions* options = nullptr;   // [N]
  const TokenHistory* histories = nullptr;    // [N]
  View bias_offsets;                          // [N + 1] i32 or empty: logit bias of row n is entries offsets[n] .. offsets[n+1]-1 of:
  View bias_ids;                              // [..] i32
  View bias_values;                           // [..] f32
  View mask_index;                            // [N] i32 or empty: which of the masks is the row's; -1: none
  View mask_bits;                             // [M, ceil(V/32)] i32 bitsets: the ids that may be sampled; bits beyond V are not looked at
  View ids;                                   // out [N] i32; -1: the row's logits hold a NaN or an infinity of the wrong sign (+inf, or all -inf);
                                              // -2: the mask allows no id that can come. Such a row writes no logprobs.
  View logprobs;                              // out [N] f32, of the sampled id, where options.logprobs >= 0
  View top_ids;                               // out [N, K] i32, K >= each options.logprobs; most probable first, ties by id
  View top_logprobs;                          // out [N, K] f32
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string device() const = 0;       // "cpu"
  virtual std::string description() const = 0;  // for people: instruction set, threads

  // What decides the bits of results besides the build: the kind of device and its instructions, not the number of threads.
  virtual std::string numerics() const = 0;

  // Device memory, uninitialised, aligned to 64 bytes. Errors: OUT_OF_MEMORY with the bytes.
  virtual Buffer allocate(size_t bytes) = 0;
  virtual void upload(void* device, const void* host, size_t bytes) = 0;
  virtual void download(void* host, const void* device, size_t bytes) = 0;
  virtual void copy(void* device_to, const void* device_from, size_t bytes) = 0;
  // Whether the host may read what views point to: the ops then also check the values of ids, slots, offsets and lengths.
  virtual bool host_memory() const { return false; }

  // Packing: allocate the whole, then fill row ranges from host tensors [rows, k] of f32, bf16 or f16 (rounded to bf16).
  Weight allocate_weight(int64_t experts, int64_t n, int64_t k, WeightLayout layout);
  void pack(Weight& weight, int64_t expert, int64_t first_row, const View& source);

  void embed(const EmbedArgs&);
  void rms_norm(const RmsNormArgs&);
  void linear(const LinearArgs&);
  void qk_norm_rope_store(const QkNormRopeStoreArgs&);
  void attention(const AttentionArgs&);
  void route(const RouteArgs&);
  void permute(const PermuteArgs&);
  void grouped_gate_up(const GroupedGateUpArgs&);
  void grouped_linear(const GroupedLinearArgs&);
  void unpermute(const UnpermuteArgs&);
  void sample(const SampleArgs&);

 protected:
  virtual size_t weight_bytes(int64_t experts, int64_t n, int64_t k, WeightLayout layout) const = 0;
  virtual void do_pack(Weight&, int64_t expert, int64_t first_row, const View& source) = 0;
  virtual void do_embed(const EmbedArgs&) = 0;
  virtual void do_rms_norm(const RmsNormArgs&) = 0;
  virtual void do_linear(const LinearArgs&) = 0;
  virtual void do_qk_norm_rope_store(const QkNormRopeStoreArgs&) = 0;
  virtual void do_attention(const AttentionArgs&) = 0;
  virtual void do_route(const RouteArgs&) = 0;
  virtual void do_permute(const PermuteArgs&) = 0;
  virtual void do_grouped_gate_up(const GroupedGateUpArgs&) = 0;
  virtual void do_grouped_linear(const GroupedLinearArgs&) = 0;
  virtual void do_unpermute(const UnpermuteArgs&) = 0;
  virtual void do_sample(const SampleArgs&) = 0;
};

// threads: 0 for the number of physical cores. Throws DEVICE_UNAVAILABLE for a device this build or machine does not have.
std::unique_ptr<Backend> make_backend(const std::string& device, int threads);

}  // namespace m2
