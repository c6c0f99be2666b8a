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

}  // namespace

Model::Model(std::unique_ptr<Backend> backend, const Geometry& geometry, const Capacity& capacity, const WeightPlan& plan, const Progress& progress)
    : ops_((check(geometry), check(capacity, geometry), std::move(backend))), g_(geometry), c_(capacity),
      weights_(load_weights(*ops_, g_, plan, progress)), kv_(*ops_, g_, c_.kv_dtype, c_.pages, c_.page_size), rows_(*ops_, g_, c_), rope_(uploaded(*ops_, rope_table(g_, c_.max_context))),
      inputs_(*ops_, g_, c_), outputs_(*ops_, c_) {
  if (!c_.banned_ids.empty()) {
    std::vector<uint32_t> bits(g_.vocab_words());
    for (int32_t id : c_.banned_ids) bits[id / 32] |= 1u << (id % 32);
    banned_ = uploaded(*ops_, bits);
  }
  carve_workspace();
}

void Model::carve_workspace() {
  const int64_t N = ops_->padded_sequences(c_.max_sequences), T = std::max(c_.max_step_tokens, N), C = g_.hidden, A = g_.experts_per_token;
  const auto f32 = [&](int64_t n) { return ops_->allocate(n * sizeof(float)); };
  const auto i32 = [&](int64_t n) { return ops_->allocate(n * sizeof(int32_t)); };
  const auto half = [&](int64_t n) { return ops_->allocate(n * sizeof(bf16)); };
  const auto act = [&](int64_t n) { return ops_->allocate(n * dtype_bytes(ops_->activations())); };
  w_ = {.x = f32(T * C), .h_f32 = f32(T * C), .h_bf16 = half(T * C), .qkv = act(T * g_.qkv_size()), .q = act(T * g_.q_size()), .attended = act(T * g_.q_size()),
        .expert_ids = i32(g_.layers * T * A), .expert_weights = f32(T * A), .offsets = i32(g_.experts + 1), .source = i32(T * A), .target = i32(T * A),
        .swiglu = half(T * A * g_.expert_hidden), .y = act(T * A * C), .logits = f32(N * g_.vocab)};
  ops_->reserve({.tokens = T, .sequences = N, .samples = N, .max_context = c_.max_context, .width = C, .heads = g_.heads, .kv_heads = g_.kv_heads, .head_dim = g_.head_dim,
                 .experts = g_.experts, .experts_per_token = A, .vocab = g_.vocab, .rounded = weights_.rounds_rows() ? T * std::max({C, g_.q_size(), A * g_.expert_hidden}) : 0});
}

void Model::run_layers(const Step& s, const KvCache& kv) {
  Backend& ops = *ops_;
  constexpr DType kF32 = DType::kF32, kBf16 = DType::kBf16, kI32 = DType::kI32;
  const DType act = ops.activations();
  const int64_t T = s.tokens(), C = g_.hidden, E = g_.experts, A = g_.experts_per_token;
  const bool rounds = weights_.rounds_rows() && kv.dtype == DType::kF8E4m3;
  const float eps = g_.rms_norm_eps, scale = static_cast<float>(1 / std::sqrt(static_cast<double>(g_.head_dim)));
  const auto f32 = [](const Buffer& b, std::initializer_list<int64_t> shape) { return b.view(DType::kF32, shape); };

  const View rope = f32(rope_, {c_.max_context, g_.rotary_dim});
  const View x = f32(w_.x, {T, C}), h_f32 = f32(w_.h_f32, {T, C}), h_bf16 = w_.h_bf16.view(kBf16, {T, C}), h = act == kF32 ? h_f32 : h_bf16;
  const View qkv = w_.qkv.view(act, {T, g_.qkv_size()}), q = w_.q.view(act, {T, g_.heads, g_.head_dim}), attended = w_.attended.view(act, {T, g_.q_size()});
  const View expert_weights = f32(w_.expert_weights, {T, A}), offsets = w_.offsets.view(kI32, {E + 1});
  const View source = w_.source.view(kI32, {T * A}), target = w_.target.view(kI32, {T, A});
  const View swiglu = w_.swiglu.view(kBf16, {T * A, g_.expert_hidden}), y = w_.y.view(act, {T * A, C});

  ops.embed({s.token_ids, rows_.last_ids(), weights_.embed.view(kBf16, {g_.vocab, C}), x});
  for (int64_t l = 0; l < g_.layers; l++) {
    const LayerWeights& w = weights_.layers[l];
    ops.rms_norm({x, {}, f32(w.input_norm, {C}), eps, h, {}});
    ops.linear({h, &w.qkv, qkv});
    ops.qk_norm_rope_store({qkv, f32(w.q_norm, {g_.q_size()}), f32(w.k_norm, {g_.kv_size()}), eps, s.positions, rope, s.slots, kv, l, q});
    ops.attention({q, kv, l, rows_.page_tables(), s.rows, s.cu_seqlens_q, s.context_lens, s.max_queries, scale, attended, rounds});
    ops.linear({attended, &w.o, x, /*accumulate=*/true});

    const View expert_ids = w_.expert_ids.view(kI32, {T, A}, l * T * A * sizeof(int32_t));
    ops.route({x, f32(w.post_norm, {C}), eps, f32(w.gate, {E, C}), f32(w.router_bias, {E}), s.live, h_f32, h_bf16, expert_ids, expert_weights, offsets, source, target});
    ops.grouped_gate_up({h_bf16, source, offsets, &w.w13, swiglu});
    ops.experts_down({swiglu, offsets, &w.w2, y, target, expert_weights, x});
  }
  if (s.samples() > 0) run_head(T, s.sample_at);
}

// The logits behind some of the step's T tokens.
View Model::run_head(int64_t T, const View& at) {
  const int64_t N = at.size(0), C = g_.hidden;
  const View x = w_.x.view(DType::kF32, {T, C}), logits = w_.logits.view(DType::kF32, {N, g_.vocab});
  const View last = ops_->activations() == DType::kF32 ? w_.h_f32.view(DType::kF32, {N, C}) : w_.h_bf16.view(DType::kBf16, {N, C});
  ops_->rms_norm({x, at, weights_.final_norm.view(DType::kF32, {C}), g_.rms_norm_eps, last, {}});
  ops_->linear({last, &weights_.lm_head, logits});
  return logits;
}

void Model::sample(const Step& s, int slot) {
  if (s.samples() == 0) return;
  SampleArgs a;
  a.logits = w_.logits.view(DType::kF32, {s.samples(), g_.vocab});
  if (banned_.data()) a.banned = banned_.view(DType::kI32, {g_.vocab_words()});
  a.options = s.options;
  a.rows = s.sample_row;
  a.last_ids = rows_.last_ids();
  a.history = rows_.history();
  a.bias_offsets = s.bias_offsets;
  a.bias_ids = s.bias_ids;
  a.bias_values = s.bias_values;
  a.mask_index = s.mask_index;
  a.mask_bits = s.mask_bits;
  outputs_.place(s, slot, a);
  ops_->sample(a);
}

// Logits take much memory: at a time those of as many tokens as a step samples at most.
void Model::score(const Step& s, int slot) {
  if (s.scores() == 0) return;
  SampleArgs all;
  outputs_.place_scores(s, slot, all);
  const int64_t most = ops_->padded_sequences(c_.max_sequences);
  for (int64_t first = 0; first < s.scores(); first += most) {
    const int64_t count = std::min(most, s.scores() - first);
    const auto part = [&](const View& view) { return View::of(view.as<int32_t>() + first, {count}); };
    SampleArgs a;
    a.logits = run_head(s.tokens(), part(s.score_at));
    a.options = s.score_options + first;
    a.rows = part(s.score_rows);
    a.last_ids = rows_.last_ids();
    a.targets = part(s.score_ids);
    a.ids = part(all.ids);
    a.logprobs = View::of(all.logprobs.as<float>() + first, {count});
    ops_->sample(a);
  }
}

void Model::set_pages(Step& s) {
  if (!s.pages.updates) return;
  s.pages.page_tables = rows_.page_tables();
  ops_->set_pages(s.pages);
}

// Decode steps of one size are the same ops on the same views, but for samples that bring more than every sample does.
void Model::run(Step& s, int slot) {
  set_pages(s);
  if (s.histories.rows) {
    s.histories.history = rows_.history();
    ops_->start_histories(s.histories);
  }
  const bool plain = s.plain_samples();
  const auto body = [&] {
    run_layers(s, kv_.cache());
    if (plain) sample(s, slot);
  };
  if (s.is_decode) ops_->replay(static_cast<uint64_t>(s.tokens()) << 1 | plain, body);
  else body();
  if (!plain) sample(s, slot);
  score(s, slot);
}

void Model::start(const Batch& batch) {
  expect(flights_.size() < kStepsInFlight, "a step was started while ", flights_.size(), " are in flight");
  expect(!kv_.lacks_scales(), "an fp8 cache needs setKvScales before the first step");
  check(batch, g_, c_);
  rows_.plan(batch);
  const double started_at = now();
  Step step = inputs_.send(batch, slot_);
  run(step, slot_);
  outputs_.fetch(step, slot_);
  if (c_.keep_routes) outputs_.fetch_routes(w_.expert_ids, g_.layers * step.tokens() * g_.experts_per_token, slot_);
  const bool wants_logprobs = std::any_of(batch.sampling.begin(), batch.sampling.end(), [](const SamplingOptions& o) { return o.logprobs >= 0; });
  flights_.push_back({slot_, step.tokens(), batch.tokens(), batch.samples(), wants_logprobs, ops_->set_mark(), started_at});
  slot_ = (slot_ + 1) % kStepsInFlight;
}

bool Model::ready() { return !flights_.empty() && ops_->passed(flights_.front().mark); }

StepResult Model::finish() {
  expect(!flights_.empty(), "no step is in flight");
  const Flight flight = flights_.front();
  flights_.pop_front();
  ops_->wait(flight.mark);
  StepResult result = outputs_.read(flight.slot, flight.samples, flight.wants_logprobs);
  if (c_.keep_routes) result.routes = outputs_.read_routes(flight.slot, g_.layers, flight.padded_tokens * g_.experts_per_token, flight.tokens * g_.experts_per_token);
  result.started_at = std::max(flight.started_at, last_ended_at_);
  result.ended_at = last_ended_at_ = now();
  return result;
}

std::vector<float> Model::measure_kv(const std::vector<int32_t>& ids) {
  expect(flights_.empty(), "measureKv was called while steps are in flight");
  const int64_t count = static_cast<int64_t>(ids.size()), size = c_.page_size;
  KvPool pool(*ops_, g_, DType::kBf16, (count + size - 1) / size, size);
  for (int64_t first = 0; first < count; first += c_.max_step_tokens) {
    const int64_t end = std::min(first + c_.max_step_tokens, count);
    Batch batch;
    for (int64_t at = first; at < end; at++) {  // a sequence in row 0 and in the pool's pages from the first on
      const int32_t position = static_cast<int32_t>(at);
      batch.token_ids.push_back(ids[at]);
      batch.positions.push_back(position);
      batch.slot_mapping.push_back(position);
      if (at % size == 0) batch.page_updates.insert(batch.page_updates.end(), {0, static_cast<int32_t>(at / size), static_cast<int32_t>(at / size)});
    }
    batch.cu_seqlens_q = {0, static_cast<int32_t>(end - first)};
    batch.context_lens = {static_cast<int32_t>(end)};
    batch.rows = {0};
    check(batch, g_, c_);
    rows_.plan(batch);
    Step step = inputs_.send(batch, slot_);
    set_pages(step);
    run_layers(step, pool.cache());
    ops_->wait(ops_->set_mark());
  }
  return pool.largest(count);
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
