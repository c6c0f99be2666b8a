// The Backend: every operation of the layer list, one args record each, validated once in front (ops.cc), executed by exactly one level of
// subclasses (cpu; cuda, also compiled as "emulated").
//
// Letters: T tokens in step, B sequences, N rows to sample, C hidden, Hq and Hk query and KV heads, D head dim, R rotary dims, E experts, A experts per
// token, F expert hidden, V vocabulary, P pages, S page size, L layers. Views are contiguous and row-major. C, F and every K are multiples of 32, D is
// 32 to 256 in steps of 32.
//
// Numbers: the residual stream, norms, softmax, router and all sums are float32, weights are bf16 when they meet their product. What goes into a dense product or attention, and what
// comes out of one that is not added to the residual stream, has the backend's own activation type ("act" below): float32 on the CPU, bf16 where the
// matrix units want it. Experts, where the arithmetic is, take bf16 everywhere. Bit-identity: a row's result does not depend on which other rows are
// in the call, nor on the number of threads: sums over K (and over the context) run in one fixed order.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "core/view.h"
#include "core/weight.h"

namespace m2 {

// The paged KV cache: [P][L][K|V][Hk][S][D]; a (page, layer, K or V, head) tile is one contiguous box [S][D]. dtype f32, bf16 or f8: then an element x is
// kept as the e4m3 next to x / scale, of at most 448, and means e4m3 * scale. Scores and results take the scale, so that no product of elements does.
struct KvCache {
  void* data = nullptr;
  DType dtype = DType::kBf16;
  int64_t pages = 0, layers = 0, heads = 0, page_size = 0, head_dim = 0;
  const float* scales = nullptr;  // [L][K|V][Hk] f32, above 0, in the device's memory; null unless f8

  int64_t tile_elements() const { return page_size * head_dim; }
  int64_t page_elements() const { return layers * 2 * heads * tile_elements(); }
  // Element offset of a tile. which: 0 for K, 1 for V.
  int64_t tile(int64_t page, int64_t layer, int64_t which, int64_t head) const {
    return (((page * layers + layer) * 2 + which) * heads + head) * tile_elements();
  }
  int64_t scale_count() const { return layers * 2 * heads; }
  constexpr float scale(int64_t layer, int64_t which, int64_t head) const { return scales ? scales[(layer * 2 + which) * heads + head] : 1; }
};

// out[t] = table[token_ids[t]]
struct EmbedArgs {
  View token_ids;  // [T] i32, each in 0..V-1, or -1 - r: the id last sampled for row r
  View last_ids;   // [R] i32 or empty: all token ids are known
  View table;      // [V, C] bf16
  View out;        // [T, C] f32
};

// out[i] = x[r] / sqrt(mean(x[r]^2) + eps) * weight, r = rows ? rows[i] : i
struct RmsNormArgs {
  View x;        // [T, C] f32
  View rows;     // [M] i32 or empty: which rows of x (M = T when empty)
  View weight;   // [C] f32
  float eps;
  View out;      // [M, C] f32 or bf16
  View out_bf16; // [M, C] bf16 or empty: the f32 out rounded, for the experts
};

// out = x W^T, or out += x W^T
struct LinearArgs {
  View x;  // [T, K] act
  const Weight* weight = nullptr;  // [1, N, K] kRows
  View out;                        // [T, N] f32, or act where nothing is added
  bool accumulate = false;
};

// RMSNorm over the whole q and the whole k projection, half-split RoPE on the first R dims of each head (pairs (i, i + R/2)), then K and V go to their slots.
struct QkNormRopeStoreArgs {
  View qkv;           // [T, (Hq + 2 Hk) D] act: q heads, k heads, v heads
  View q_weight;      // [Hq D] f32
  View k_weight;      // [Hk D] f32
  float eps;
  View positions;     // [T] i32
  View rope;          // [max positions, R] f32: R/2 cosines, then R/2 sines
  View slot_mapping;  // [T] i32: page * S + offset, or -1: do not store
  KvCache kv;
  int64_t layer;
  View q;             // out [T, Hq, D] act
};

// Causal grouped-query attention over the paged cache. Query j of sequence b stands at position context_lens[b] - q_len + j and sees itself and all before.
// Tokens behind the last sequence's are of none, and their rows of out mean nothing.
struct AttentionArgs {
  View q;             // [T, Hq, D] act
  KvCache kv;
  int64_t layer;
  View page_tables;   // [rows, pages per row] i32
  View rows;          // [B] i32: the page table row of each sequence
  View cu_seqlens_q;  // [B + 1] i32
  View context_lens;  // [B] i32, new tokens included
  int64_t max_queries;  // of a sequence: no sequence has more
  float scale;
  View out;           // [T, Hq D] act
  bool rounds = false;  // of an f8 cache: each head of q is rounded to e4m3 as rows are (core/fp8_rows.h), and so are the softmax's weights, times 256
};

// h = x / sqrt(mean(x^2) + eps) * norm, as rms_norm has it; scores = sigmoid(h gate^T); the A experts with the largest scores + bias (ties: the lower index),
// in that order; weights = their scores / their sum.
// Then the counting sort of the T*A (token, slot) pairs by expert, stable in t*A+a.
struct RouteArgs {
  View x;           // [T, C] f32
  View norm;        // [C] f32
  float eps;
  View gate;        // [E, C] f32
  View bias;        // [E] f32
  View live;        // [1] i32 or empty: tokens from live[0] on go to no expert: -1 in expert_ids and target, 0 in weights
  View room;        // [T, C] f32: to work in
  View h;           // out [T, C] bf16: what the experts take
  View expert_ids;  // out [T, A] i32
  View weights;     // out [T, A] f32
  View offsets;     // out [E + 1] i32: the rows of expert e are offsets[e] .. offsets[e+1]-1
  View source;      // out [T*A] i32: permuted row -> t*A+a; what lies behind offsets[E] means nothing
  View target;      // out [T, A] i32: t*A+a -> permuted row
};

// out[row] = silu(x[t] W1^T) * (x[t] W3^T) with row's expert, t = source[row] / A, for the rows below offsets[E]
struct GroupedGateUpArgs {
  View x;        // [T, C] bf16
  View source;   // [T*A] i32
  View offsets;  // [E + 1] i32
  const Weight* weight = nullptr;  // [E, 2F, C] kGateUp
  View out;                        // [T*A, F] bf16
};

// out[row] = x[row] W2^T with row's expert, for the rows below offsets[E]
struct GroupedLinearArgs {
  View x;        // [T*A, F] bf16
  View offsets;  // [E + 1] i32
  const Weight* weight = nullptr;  // [E, C, F] kRows
  View out;                        // [T*A, C] act
};

// out[t] += sum over a (in the order of a) of weights[t, a] * y[target[t, a]]
struct UnpermuteArgs {
  View y;        // [T*A, C] act
  View target;   // [T, A] i32; a token without experts has -1 and stays as it is
  View weights;  // [T, A] f32
  View out;      // [T, C] f32
};

// Both in turn: y[row] = x[row] W2^T with row's expert, and then out[t] += sum over a of weights[t, a] * y[target[t, a]]
struct ExpertsDownArgs {
  View x;        // [T*A, F] bf16
  View offsets;  // [E + 1] i32
  const Weight* weight = nullptr;  // [E, C, F] kRows
  View y;                          // [T*A, C] act: to work in
  View target;                     // [T, A] i32; a token without experts has -1 and stays as it is
  View weights;                    // [T, A] f32
  View out;                        // [T, C] f32
};

// page_tables[row, index] = page for each (row, index, page)
struct SetPagesArgs {
  View updates;      // [U, 3] i32, no place twice
  View page_tables;  // [R, pages per row] i32
};

// A row's token history, for the penalties: 2 * (how often the id was generated) + (whether the prompt holds it). Rows start anew from their ids,
// of which the last generated[h] were generated.
struct StartHistoriesArgs {
  View rows;       // [H] i32, all different
  View offsets;    // [H + 1] i32
  View generated;  // [H] i32
  View ids;        // [..] i32
  View history;    // [R, V] i32
};

// One sampled row's options. Neutral values: temperature 1, top_k 0, top_p 1, min_p 0, repetition 1, presence 0, frequency 0.
struct SamplingOptions {
  bool has_penalties() const { return repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0; }

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
// summation, so every device draws the same. A sampled id becomes its row's last id, and is counted in the row's history if the row has penalties; where
// there is none (an id below 0) the last id is 0 and nothing is counted: the step planned ahead for the row must run, though nobody wants its result.
struct SampleArgs {
  View logits;                                // [N, V] f32, not modified
  View banned;                                // [ceil(V/32)] i32 bitset or empty: ids never sampled
  const SamplingOptions* options = nullptr;   // [N], in the device's memory
  View rows;                                  // [N] i32: the row that gets the id, all different; -1: nothing is sampled, nor written
  View last_ids;                              // in and out [R] i32
  View history;                               // in and out [R, V] i32, as StartHistoriesArgs has it, or empty: no row has penalties
  View bias_offsets;                          // [N + 1] i32 or empty: logit bias of row n is entries offsets[n] .. offsets[n+1]-1 of:
  View bias_ids;                              // [..] i32
  View bias_values;                           // [..] f32
  View mask_index;                            // [N] i32 or empty: which of the masks is the row's; -1: none
  View mask_bits;                             // [M, ceil(V/32)] i32 bitsets: the ids that may be sampled; bits beyond V are not looked at
  View targets;                               // [N] i32 or empty. If given nothing is drawn: these are the ids, for the sake of their logprobs; last_ids and
                                              // history stay as they are, and rows may be alike
  View ids;                                   // out [N] i32; -1: the row's logits hold a NaN or an infinity of the wrong sign (+inf, or all -inf);
                                              // -2: the mask allows no id that can come. Such a row writes no logprobs.
  View logprobs;                              // out [N] f32, of the sampled id, where options.logprobs >= 0
  View top_ids;                               // out [N, K] i32, K >= each options.logprobs; most probable first, ties by id
  View top_logprobs;                          // out [N, K] f32
};

// The largest calls that a model makes.
struct Workload {
  int64_t tokens, sequences, samples, max_context, width, heads, kv_heads, head_dim, experts, experts_per_token, vocab;
  int64_t rounded;  // numbers of the largest x that products round to FP8, or 0
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string device() const = 0;       // "cpu", "cuda:0", "emulated"
  virtual std::string description() const = 0;  // for people: instruction set and threads, or the GPU

  // What decides the bits of results besides the build: the kind of device and its instructions, not the number of threads.
  virtual std::string numerics() const = 0;
  // The element type that this header calls act.
  virtual DType activations() const = 0;

  // Device memory, uninitialised, aligned to 64 bytes. Errors: OUT_OF_MEMORY with the bytes.
  virtual Buffer allocate(size_t bytes) = 0;
  // Host memory for the copies below that run later.
  virtual Buffer allocate_host(size_t bytes) = 0;
  // All work is done in the order of the calls. What these three copy from or to the host is done when they return.
  virtual void upload(void* device, const void* host, size_t bytes) = 0;
  virtual void download(void* host, const void* device, size_t bytes) = 0;
  virtual void copy(void* device_to, const void* device_from, size_t bytes) = 0;
  // These return at once: the memory, of allocate_host, is the device's until a mark set behind them is passed.
  virtual void upload_later(void* device, const void* host, size_t bytes) = 0;
  virtual void download_later(void* host, const void* device, size_t bytes) = 0;
  virtual int64_t set_mark() = 0;
  virtual bool passed(int64_t mark) = 0;
  virtual void wait(int64_t mark) = 0;

  // Fills f32, bf16 or f8 memory with numbers of a uniform distribution over -scale .. scale, made on the device: for benches, which need weights and not
  // what they say. u8: with pairs of 4-bit codes.
  virtual void fill_random(void* data, DType dtype, int64_t count, float scale, uint64_t seed) = 0;
  // A weight of such numbers with a variance of 1 / k: the same on every device, and in every format but for its rounding.
  virtual void fill_random(Weight& weight, uint64_t seed) = 0;
  // Microseconds that `body` takes on the device, the mean over `repeats` runs of it behind each other.
  virtual double time(int repeats, const std::function<void(int repeat)>& body) = 0;

  // Runs the ops of `body`, which are the same ops on the same views at every call with the same key: a device that can records them once and replays them.
  virtual void replay(uint64_t /*key*/, const std::function<void()>& body) { body(); }
  // To how many sequences a decode step is padded, so that few recordings serve all.
  virtual int64_t padded_sequences(int64_t sequences) const { return sequences; }

  // Whether the host may read what views point to: the ops then also check the values of ids, slots, offsets and lengths.
  virtual bool host_memory() const { return false; }
  // Allocates what ops need beside their arguments, for calls up to these sizes; larger ones allocate when they come.
  virtual void reserve(const Workload&) {}

  // Whether products take weights of this format.
  virtual bool takes(WeightFormat format) const { return format == WeightFormat::kBf16; }
  // Packing: allocate the whole, then fill row ranges of it. A weight held as bf16 takes rows of every kind; one held as FP8 or int4 takes only rows that
  // are stored so, from a multiple of 16 rows on.
  Weight allocate_weight(int64_t experts, int64_t n, int64_t k, WeightLayout layout, WeightType type = {});
  void pack(Weight& weight, int64_t expert, int64_t first_row, const MatrixRows& rows);

  void embed(const EmbedArgs&);
  void rms_norm(const RmsNormArgs&);
  void linear(const LinearArgs&);
  void qk_norm_rope_store(const QkNormRopeStoreArgs&);
  void attention(const AttentionArgs&);
  void route(const RouteArgs&);
  void grouped_gate_up(const GroupedGateUpArgs&);
  void grouped_linear(const GroupedLinearArgs&);
  void unpermute(const UnpermuteArgs&);
  void experts_down(const ExpertsDownArgs&);
  void set_pages(const SetPagesArgs&);
  void start_histories(const StartHistoriesArgs&);
  void sample(const SampleArgs&);

 protected:
  virtual size_t weight_bytes(int64_t experts, int64_t n, int64_t k, WeightType type) const = 0;
  virtual void do_pack(Weight&, int64_t expert, int64_t first_row, const MatrixRows& rows) = 0;
  virtual void do_embed(const EmbedArgs&) = 0;
  virtual void do_rms_norm(const RmsNormArgs&) = 0;
  virtual void do_linear(const LinearArgs&) = 0;
  virtual void do_qk_norm_rope_store(const QkNormRopeStoreArgs&) = 0;
  virtual void do_attention(const AttentionArgs&) = 0;
  virtual void do_route(const RouteArgs&) = 0;
  virtual void do_grouped_gate_up(const GroupedGateUpArgs&) = 0;
  virtual void do_grouped_linear(const GroupedLinearArgs&) = 0;
  virtual void do_unpermute(const UnpermuteArgs&) = 0;
  virtual void do_experts_down(const ExpertsDownArgs& a) {
    do_grouped_linear({a.x, a.offsets, a.weight, a.y});
    do_unpermute({a.y, a.target, a.weights, a.out});
  }
  virtual void do_set_pages(const SetPagesArgs&) = 0;
  virtual void do_start_histories(const StartHistoriesArgs&) = 0;
  virtual void do_sample(const SampleArgs&) = 0;
};

// Which GPU a device's name means: 0 for "cuda" and "emulated", n for "cuda:n". Throws DEVICE_UNAVAILABLE for a name that means none in this build.
int device_ordinal(const std::string& device);

// threads: 0 for the number of physical cores, of the CPU alone. Throws DEVICE_UNAVAILABLE for a device this build or machine does not have.
std::unique_ptr<Backend> make_backend(const std::string& device, int threads);

}  // namespace m2
