#include "model/step.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "model/row_state.h"

namespace m2 {
namespace {

constexpr SamplingOptions kNoOptions{.temperature = 0, .top_p = 1, .min_p = 0, .repetition_penalty = 1, .presence_penalty = 0, .frequency_penalty = 0, .top_k = 0,
                                     .logprobs = -1, .seed = 0, .position = 0, .sample_index = 0};

constexpr SamplingOptions kScored = [] {
  SamplingOptions options = kNoOptions;
  options.logprobs = 0;
  return options;
}();

template <class T>
std::vector<T> padded(std::vector<T> values, int64_t size, const T& with) {
  values.resize(size, with);
  return values;
}

size_t input_bytes(int64_t tokens, int64_t sequences, int64_t samples) {
  const auto ints = [](int64_t n) { return StepBlock::bytes_of<int32_t>(n); };
  return 3 * ints(tokens) + ints(sequences + 1) + 2 * ints(sequences) + 2 * ints(samples) + StepBlock::bytes_of<SamplingOptions>(samples) + ints(1);
}

size_t largest_input_bytes(const Capacity& c, int64_t sequences) { return input_bytes(std::max(c.max_step_tokens, sequences), sequences, sequences); }

size_t extra_bytes(const Batch& b, int64_t samples) {
  size_t bytes = StepBlock::bytes_of<int32_t>(samples + 1) + StepBlock::bytes_of<int32_t>(samples);  // where biases begin, which mask
  for (const auto* ints : {&b.page_updates, &b.history_rows, &b.history_offsets, &b.history_generated, &b.history_ids, &b.bias_ids, &b.mask_bits})
    bytes += StepBlock::bytes_of<int32_t>(ints->size());
  bytes += 3 * StepBlock::bytes_of<int32_t>(b.scores()) + StepBlock::bytes_of<SamplingOptions>(b.scores());
  return bytes + StepBlock::bytes_of<float>(b.bias_values.size());
}

template <class T>
std::vector<T> copied(const void* from, int64_t count) {
  std::vector<T> values(count);
  if (count > 0) std::memcpy(values.data(), from, count * sizeof(T));
  return values;
}

}  // namespace

StepBlock::StepBlock(Backend& ops, size_t bytes) : ops_(ops), device_(ops.allocate(bytes)) {
  for (Buffer& host : host_) host = ops.allocate_host(bytes);
}

void StepBlock::begin(int slot, size_t bytes) {
  slot_ = slot;
  used_ = 0;
  if (bytes > host_[slot].bytes()) {
    host_[slot] = Buffer();
    host_[slot] = ops_.allocate_host(bytes);
  }
  if (bytes > device_.bytes()) {
    ops_.wait(ops_.set_mark());  // the step before may still use the old block
    device_ = Buffer();
    device_ = ops_.allocate(bytes);
  }
}

void* StepBlock::put_bytes(const void* values, size_t bytes) {
  const size_t at = used_;
  used_ += padded(bytes);
  expect(used_ <= device_.bytes(), "a step brings ", used_, " bytes, its block has ", device_.bytes());
  if (bytes > 0) std::memcpy(static_cast<char*>(host_[slot_].data()) + at, values, bytes);
  return static_cast<char*>(device_.data()) + at;
}

StepInputs::StepInputs(Backend& ops, const Geometry& g, const Capacity& c)
    : ops_(ops), vocab_words_(g.vocab_words()), block_(ops, largest_input_bytes(c, ops.padded_sequences(c.max_sequences))), extras_(ops, 1 << 16) {}

Step StepInputs::send(const Batch& b, int slot) {
  Step s;
  s.is_decode = b.tokens() == b.sequences() && b.samples() <= b.sequences();
  const int64_t B = s.is_decode ? ops_.padded_sequences(b.sequences()) : b.sequences();
  const int64_t T = s.is_decode ? B : b.tokens(), N = s.is_decode ? B : b.samples();
  const int32_t live = static_cast<int32_t>(b.tokens());

  block_.begin(slot, input_bytes(T, B, N));
  s.token_ids = block_.ints(padded(RowState::token_ids(b), T, 0));
  s.positions = block_.ints(padded(b.positions, T, 0));
  s.slots = block_.ints(padded(b.slot_mapping, T, -1));
  s.cu_seqlens_q = block_.ints(padded(b.cu_seqlens_q, B + 1, live));
  s.context_lens = block_.ints(padded(b.context_lens, B, 0));
  s.rows = block_.ints(padded(b.rows, B, 0));
  s.sample_at = block_.ints(padded(b.sample_at, N, 0));
  s.sample_row = block_.ints(padded(b.sample_row, N, -1));
  s.options = block_.put(padded(b.sampling, N, kNoOptions));
  s.live = block_.ints({live});
  block_.upload();

  for (int64_t i = 0; i < b.sequences(); i++) s.max_queries = std::max<int64_t>(s.max_queries, b.cu_seqlens_q[i + 1] - b.cu_seqlens_q[i]);
  for (const SamplingOptions& o : b.sampling) s.alternatives = std::max<int64_t>(s.alternatives, o.logprobs);
  send_extras(b, slot, s);
  return s;
}

void StepInputs::send_extras(const Batch& b, int slot, Step& s) {
  const int64_t N = s.samples(), masks = static_cast<int64_t>(b.mask_samples.size()), biases = static_cast<int64_t>(b.bias_ids.size());
  const int64_t updates = static_cast<int64_t>(b.page_updates.size()) / 3, histories = static_cast<int64_t>(b.history_rows.size());
  if (masks + biases + updates + histories + b.scores() == 0) return;
  extras_.begin(slot, extra_bytes(b, N));
  if (updates > 0) s.pages.updates = View::of(extras_.put(b.page_updates), {updates, 3});
  if (histories > 0) {
    s.histories = {.rows = extras_.ints(b.history_rows), .offsets = extras_.ints(b.history_offsets), .generated = extras_.ints(b.history_generated),
                   .ids = extras_.ints(b.history_ids), .history = {}};
  }
  if (biases > 0) {
    s.bias_offsets = extras_.ints(padded(b.bias_offsets, N + 1, b.bias_offsets.back()));
    s.bias_ids = extras_.ints(b.bias_ids);
    s.bias_values = extras_.floats(b.bias_values);
  }
  if (masks > 0) {
    std::vector<int32_t> index(N, -1);
    for (int64_t m = 0; m < masks; m++) index[b.mask_samples[m]] = static_cast<int32_t>(m);
    s.mask_index = extras_.ints(index);
    s.mask_bits = View::of(extras_.put(b.mask_bits), {masks, vocab_words_});
  }
  if (b.scores() > 0) {
    s.score_at = extras_.ints(b.score_at);
    s.score_ids = extras_.ints(b.score_ids);
    s.score_rows = extras_.ints(std::vector<int32_t>(b.scores(), 0));
    s.score_options = extras_.put(std::vector<SamplingOptions>(b.scores(), kScored));
  }
  extras_.upload();
}

StepOutputs::StepOutputs(Backend& ops, const Capacity& c) : ops_(ops), block_(ops, 2 * ops.padded_sequences(c.max_sequences) * sizeof(float)), top_(ops, 1 << 12), scores_(ops, 1 << 12) {}

void StepOutputs::place(const Step& s, int slot, SampleArgs& a) {
  const int64_t N = s.samples(), K = s.alternatives;
  float* block = static_cast<float*>(block_.device());
  a.ids = View::of(reinterpret_cast<int32_t*>(block), {N});
  a.logprobs = View::of(block + N, {N});
  if (K == 0) return;
  top_.begin(slot, 2 * N * K * sizeof(float));
  float* top = static_cast<float*>(top_.device());
  a.top_ids = View::of(reinterpret_cast<int32_t*>(top), {N, K});
  a.top_logprobs = View::of(top + N * K, {N, K});
}

void StepOutputs::place_scores(const Step& s, int slot, SampleArgs& a) {
  const int64_t M = s.scores();
  scores_.begin(slot, 2 * M * sizeof(float));
  float* block = static_cast<float*>(scores_.device());
  a.ids = View::of(reinterpret_cast<int32_t*>(block), {M});
  a.logprobs = View::of(block + M, {M});
}

void StepOutputs::fetch(const Step& s, int slot) {
  const int64_t N = s.samples(), K = s.alternatives, M = s.scores();
  fetched_[slot] = {N, K, M};
  if (N > 0) ops_.download_later(block_.host(slot), block_.device(), 2 * N * sizeof(float));
  if (K > 0) ops_.download_later(top_.host(slot), top_.device(), 2 * N * K * sizeof(float));
  if (M > 0) ops_.download_later(scores_.host(slot), scores_.device(), 2 * M * sizeof(float));
}

StepResult StepOutputs::read(int slot, int64_t samples, bool wants_logprobs) const {
  const auto [N, K, M] = fetched_[slot];
  const float *block = static_cast<const float*>(block_.host(slot)), *top = static_cast<const float*>(top_.host(slot));
  const float* scores = static_cast<const float*>(scores_.host(slot));
  StepResult result;
  result.ids = copied<int32_t>(block, samples);
  if (wants_logprobs) result.logprobs = copied<float>(block + N, samples);
  result.top_ids = copied<int32_t>(top, samples * K);
  result.top_logprobs = copied<float>(top + N * K, samples * K);
  const std::vector<int32_t> scored = copied<int32_t>(scores, M);
  result.scores = copied<float>(scores + M, M);
  for (int64_t m = 0; m < M; m++)
    if (scored[m] < 0) result.scores[m] = std::numeric_limits<float>::quiet_NaN();
  return result;
}

void StepOutputs::fetch_routes(const Buffer& expert_ids, int64_t count, int slot) {
  const size_t bytes = count * sizeof(int32_t);
  if (bytes > routes_[slot].bytes()) {
    routes_[slot] = Buffer();
    routes_[slot] = ops_.allocate_host(bytes);
  }
  ops_.download_later(routes_[slot].data(), expert_ids.data(), bytes);
}

std::vector<int32_t> StepOutputs::read_routes(int slot, int64_t layers, int64_t padded_pairs, int64_t pairs) const {
  const int32_t* from = static_cast<const int32_t*>(routes_[slot].data());
  std::vector<int32_t> routes;
  for (int64_t l = 0; l < layers; l++) routes.insert(routes.end(), from + l * padded_pairs, from + l * padded_pairs + pairs);
  return routes;
}

}  // namespace m2
