#include "model/m2.h"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace m2 {
namespace {

// cos and sin of position * theta^(-2i/R), computed in double: a float32 angle loses digits at long context.
std::vector<float> rope_table(const Geometry& g, int64_t max_context) {
  const int64_t R = g.rotary_dim, half = R / 2;
  std::vector<float> table(max_context * R);
  for (int64_t i = 0; i < half; i++) {
    const double frequency = std::pow(g.rope_theta, -2.0 * i / R);
    for (int64_t position = 0; position < max_context; position++) {
      table[position * R + i] = static_cast<float>(std::cos(position * frequency));
      table[position * R + half + i] = static_cast<float>(std::sin(position * frequency));
    }
  }
  return table;
}

// Microseconds of the steady clock.
double now() { return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

template <class T>
Buffer uploaded(Backend& ops, const std::vector<T>& values) {
  Buffer buffer = ops.allocate(std::max<size_t>(values.size(), 1) * sizeof(T));
  ops.upload(buffer.data(), values.data(), values.size() * sizeof(T));
  return buffer;
}

template <class T>
std::vector<T> downloaded(Backend& ops, const Buffer& buffer, int64_t count) {
  std::vector<T> values(count);
  ops.download(values.data(), buffer.data(), values.size() * sizeof(T));
  return values;
}

}  // namespace

Model::Model(std::unique_ptr<Backend> backend, const Geometry& geometry, const Capacity& capacity, const WeightPlan& plan, const Progress& progress)
    : ops_((check(geometry), check(capacity, geometry), std::move(backend))), g_(geometry), c_(capacity),
      weights_(load_weights(*ops_, g_, plan, progress)), kv_(*ops_, g_, c_), rows_(*ops_, g_, c_), rope_(uploaded(*ops_, rope_table(g_, c_.max_context))) {
  if (!c_.banned_ids.empty()) {
    std::vector<uint32_t> bits(g_.vocab_words());
    for (int32_t id : c_.banned_ids) bits[id / 32] |= 1u << (id % 32);
    banned_ = uploaded(*ops_, bits);
  }
  const int64_t T = c_.max_step_tokens, B = c_.max_sequences, N = c_.max_sequences, C = g_.hidden, TA = T * g_.experts_per_token;
  const auto i32 = [&](int64_t n) { return ops_->allocate(n * sizeof(int32_t)); };
  const auto f32 = [&](int64_t n) { return ops_->allocate(n * sizeof(float)); };
  const auto half = [&](int64_t n) { return ops_->allocate(n * sizeof(bf16)); };
  w_ = {.token_ids = i32(T), .positions = i32(T), .slots = i32(T), .cu_seqlens_q = i32(B + 1), .context_lens = i32(B), .rows = i32(B), .sample_at = i32(N),
        .x = f32(T * C), .h = f32(T * C), .h_bf16 = half(T * C), .qkv = f32(T * g_.qkv_size()), .q = f32(T * g_.q_size()), .attended = f32(T * g_.q_size()),
        .expert_ids = i32(TA), .expert_weights = f32(TA), .offsets = i32(g_.experts + 1), .source = i32(TA), .target = i32(TA),
        .act = half(TA * g_.expert_hidden), .y = f32(TA * C), .last = f32(N * C), .logits = f32(N * g_.vocab),
        .bias_offsets = i32(N + 1), .mask_index = i32(N), .ids = i32(N), .logprobs = f32(N)};
}

// The views of one step.
struct Model::Step {
  int64_t samples;
  View token_ids, positions, slots, cu_seqlens_q, context_lens, rows, sample_at;
  View x, h, h_bf16, qkv, q, attended, expert_ids, expert_weights, offsets, source, target, act, y, last, logits;
};

Model::Step Model::upload(const Batch& b) {
  const auto ints = [&](const Buffer& to, const std::vector<int32_t>& values) {
    ops_->upload(to.data(), values.data(), values.size() * sizeof(int32_t));
    return to.view(DType::kI32, {static_cast<int64_t>(values.size())});
  };
  const int64_t T = b.tokens(), N = b.samples(), A = g_.experts_per_token, C = g_.hidden;
  constexpr DType kF32 = DType::kF32, kBf16 = DType::kBf16, kI32 = DType::kI32;
  return {.samples = N,
          .token_ids = ints(w_.token_ids, b.token_ids), .positions = ints(w_.positions, b.positions), .slots = ints(w_.slots, b.slot_mapping),
          .cu_seqlens_q = ints(w_.cu_seqlens_q, b.cu_seqlens_q), .context_lens = ints(w_.context_lens, b.context_lens), .rows = ints(w_.rows, b.rows),
          .sample_at = ints(w_.sample_at, b.sample_at),
          .x = w_.x.view(kF32, {T, C}), .h = w_.h.view(kF32, {T, C}), .h_bf16 = w_.h_bf16.view(kBf16, {T, C}), .qkv = w_.qkv.view(kF32, {T, g_.qkv_size()}),
          .q = w_.q.view(kF32, {T, g_.heads, g_.head_dim}), .attended = w_.attended.view(kF32, {T, g_.q_size()}),
          .expert_ids = w_.expert_ids.view(kI32, {T, A}), .expert_weights = w_.expert_weights.view(kF32, {T, A}), .offsets = w_.offsets.view(kI32, {g_.experts + 1}),
          .source = w_.source.view(kI32, {T * A}), .target = w_.target.view(kI32, {T, A}), .act = w_.act.view(kBf16, {T * A, g_.expert_hidden}),
          .y = w_.y.view(kF32, {T * A, C}), .last = w_.last.view(kF32, {N, C}), .logits = w_.logits.view(kF32, {N, g_.vocab})};
}

void Model::run_layers(const Step& s) {
  Backend& ops = *ops_;
  const int64_t C = g_.hidden, E = g_.experts;
  const float scale = static_cast<float>(1 / std::sqrt(static_cast<double>(g_.head_dim)));
  const View rope = rope_.view(DType::kF32, {c_.max_context, g_.rotary_dim});
  const auto f32 = [](const Buffer& b, std::initializer_list<int64_t> shape) { return b.view(DType::kF32, shape); };

  ops.embed({s.token_ids, weights_.embed.view(DType::kBf16, {g_.vocab, C}), s.x});
  for (int64_t l = 0; l < g_.layers; l++) {
    const LayerWeights& w = weights_.layers[l];
    ops.rms_norm({s.x, {}, f32(w.input_norm, {C}), g_.rms_norm_eps, s.h, {}});
    ops.linear({s.h, &w.qkv, s.qkv});
    ops.qk_norm_rope_store({s.qkv, f32(w.q_norm, {g_.q_size()}), f32(w.k_norm, {g_.kv_size()}), g_.rms_norm_eps, s.positions, rope, s.slots, kv_.cache(), l, s.q});
    ops.attention({s.q, kv_.cache(), l, rows_.page_tables(), s.rows, s.cu_seqlens_q, s.context_lens, scale, s.attended});
    ops.linear({s.attended, &w.o, s.x, /*accumulate=*/true});

    ops.rms_norm({s.x, {}, f32(w.post_norm, {C}), g_.rms_norm_eps, s.h, s.h_bf16});
    ops.route({s.h, f32(w.gate, {E, C}), f32(w.router_bias, {E}), s.expert_ids, s.expert_weights});
    ops.permute({s.expert_ids, s.offsets, s.source, s.target});
    ops.grouped_gate_up({s.h_bf16, s.source, s.offsets, &w.w13, s.act});
    ops.grouped_linear({s.act, s.offsets, &w.w2, s.y});
    ops.unpermute({s.y, s.target, s.expert_weights, s.x});
  }
  if (s.samples == 0) return;
  ops.rms_norm({s.x, s.sample_at, f32(weights_.final_norm, {C}), g_.rms_norm_eps, s.last, {}});
  ops.linear({s.last, &weights_.lm_head, s.logits});
}

StepResult Model::sample(const Batch& b, const Step& s) {
  StepResult result;
  const int64_t N = s.samples;
  if (N == 0) return result;
  std::vector<TokenHistory> histories(N);
  bool want_logprobs = false;
  int64_t K = 0;
  for (int64_t n = 0; n < N; n++) {
    histories[n] = rows_.history(b.sample_row[n], b.sampling[n]);
    want_logprobs |= b.sampling[n].logprobs >= 0;
    K = std::max<int64_t>(K, b.sampling[n].logprobs);
  }
  const auto put = [&](const Buffer& to, const std::vector<int32_t>& values) {
    ops_->upload(to.data(), values.data(), values.size() * sizeof(int32_t));
    return to.view(DType::kI32, {static_cast<int64_t>(values.size())});
  };
  SampleArgs args;
  args.logits = s.logits;
  if (banned_.data()) args.banned = banned_.view(DType::kI32, {g_.vocab_words()});
  args.options = b.sampling.data();
  args.histories = histories.data();
  // What few steps have, and whose size is the step's own, is allocated here.
  Buffer bias_ids, bias_values, mask_bits, top_ids, top_logprobs;
  if (const int64_t biases = static_cast<int64_t>(b.bias_ids.size()); biases > 0) {
    bias_ids = uploaded(*ops_, b.bias_ids);
    bias_values = uploaded(*ops_, b.bias_values);
    args.bias_offsets = put(w_.bias_offsets, b.bias_offsets);
    args.bias_ids = bias_ids.view(DType::kI32, {biases});
    args.bias_values = bias_values.view(DType::kF32, {biases});
  }
  if (const int64_t masks = static_cast<int64_t>(b.mask_samples.size()); masks > 0) {
    std::vector<int32_t> index(N, -1);
    for (int64_t m = 0; m < masks; m++) index[b.mask_samples[m]] = static_cast<int32_t>(m);
    mask_bits = uploaded(*ops_, b.mask_bits);
    args.mask_index = put(w_.mask_index, index);
    args.mask_bits = mask_bits.view(DType::kI32, {masks, g_.vocab_words()});
  }
  if (K > 0) {
    top_ids = ops_->allocate(N * K * sizeof(int32_t));
    top_logprobs = ops_->allocate(N * K * sizeof(float));
    args.top_ids = top_ids.view(DType::kI32, {N, K});
    args.top_logprobs = top_logprobs.view(DType::kF32, {N, K});
  }
  args.ids = w_.ids.view(DType::kI32, {N});
  args.logprobs = w_.logprobs.view(DType::kF32, {N});
  ops_->sample(args);

  result.ids = downloaded<int32_t>(*ops_, w_.ids, N);
  if (want_logprobs) result.logprobs = downloaded<float>(*ops_, w_.logprobs, N);
  result.top_ids = downloaded<int32_t>(*ops_, top_ids, N * K);
  result.top_logprobs = downloaded<float>(*ops_, top_logprobs, N * K);
  return result;
}

StepResult Model::forward(Batch batch) {
  const double started_at = now();
  check(batch, g_, c_);
  rows_.begin_step(batch);
  const Step step = upload(batch);
  run_layers(step);
  StepResult result = sample(batch, step);
  rows_.end_step(batch, result.ids);
  result.started_at = started_at;
  result.ended_at = now();
  return result;
}

void Model::copy_pages(const std::vector<int32_t>& from, const std::vector<int32_t>& to) {
  expect(from.size() == to.size(), "copyPages got ", from.size(), " sources and ", to.size(), " targets");
  kv_.check("copyPages", from);
  kv_.check("copyPages", to);
  for (size_t i = 0; i < from.size(); i++) kv_.copy_page(from[i], to[i]);
}

void Model::check_pages(const char* call, const std::vector<int32_t>& pages, size_t bytes) const {
  kv_.check(call, pages);
  const size_t expected = pages.size() * kv_.page_bytes();
  if (bytes != expected) fail("DEVICE_ERROR", call, ": ", bytes, " bytes for ", pages.size(), " pages, expected ", expected);
}

void Model::read_pages(const std::vector<int32_t>& pages, std::span<uint8_t> to) const {
  check_pages("readPages", pages, to.size());
  for (size_t i = 0; i < pages.size(); i++) kv_.read_page(pages[i], to.data() + i * kv_.page_bytes());
}

void Model::write_pages(const std::vector<int32_t>& pages, std::span<const uint8_t> from) {
  check_pages("writePages", pages, from.size());
  for (size_t i = 0; i < pages.size(); i++) kv_.write_page(pages[i], from.data() + i * kv_.page_bytes());
}

}  // namespace m2
