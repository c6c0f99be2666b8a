#include "failures/steps.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <string>

#include "model/m2.h"

namespace m2::test {
namespace {

const Geometry kGeometry{.vocab = 70, .hidden = 32, .layers = 1, .heads = 2, .kv_heads = 1, .head_dim = 64, .rotary_dim = 32, .experts = 4, .experts_per_token = 2,
                         .expert_hidden = 32, .rope_theta = 1e4, .rms_norm_eps = 1e-6f};
const Capacity kCapacity{.kv_dtype = DType::kF8E4m3, .page_size = 16, .pages = 8, .max_context = 64, .max_sequences = 3, .max_step_tokens = 40, .banned_ids = {69},
                         .keep_routes = true};

// A file of bf16 numbers, gone with the object, and the plan that reads every tensor from it.
class Checkpoint {
 public:
  Checkpoint() {
    const Geometry& g = kGeometry;
    add(TensorKind::kEmbed, -1, -1, g.vocab, g.hidden);
    add(TensorKind::kFinalNorm, -1, -1, 1, g.hidden);
    add(TensorKind::kLmHead, -1, -1, g.vocab, g.hidden);
    add(TensorKind::kInputNorm, 0, -1, 1, g.hidden);
    add(TensorKind::kQProj, 0, -1, g.q_size(), g.hidden);
    add(TensorKind::kKProj, 0, -1, g.kv_size(), g.hidden);
    add(TensorKind::kVProj, 0, -1, g.kv_size(), g.hidden);
    add(TensorKind::kOProj, 0, -1, g.hidden, g.q_size());
    add(TensorKind::kQNorm, 0, -1, 1, g.q_size());
    add(TensorKind::kKNorm, 0, -1, 1, g.kv_size());
    add(TensorKind::kPostNorm, 0, -1, 1, g.hidden);
    add(TensorKind::kGate, 0, -1, g.experts, g.hidden);
    add(TensorKind::kRouterBias, 0, -1, 1, g.experts);
    for (int64_t e = 0; e < g.experts; e++) {
      add(TensorKind::kW1, 0, e, g.expert_hidden, g.hidden);
      add(TensorKind::kW3, 0, e, g.expert_hidden, g.hidden);
      add(TensorKind::kW2, 0, e, g.hidden, g.expert_hidden);
    }
    char name[] = "/tmp/m2-failures-XXXXXX";
    const int handle = mkstemp(name);
    expect(handle >= 0, "no temporary file");
    path_ = name;
    FILE* file = fdopen(handle, "wb");
    std::fwrite(numbers_.data(), sizeof(bf16), numbers_.size(), file);
    std::fclose(file);
    plan.files = {path_};
  }
  ~Checkpoint() { std::remove(path_.c_str()); }

  WeightPlan plan;

 private:
  void add(TensorKind kind, int64_t layer, int64_t expert, int64_t rows, int64_t cols) {
    plan.tensors.push_back({"tensor " + std::to_string(plan.tensors.size()), kind, layer, expert, Form::kBf16, rows, cols, {0, numbers_.size() * sizeof(bf16)}, {}, {}, {}});
    std::normal_distribution<float> normal(rows == 1 ? 1.0f : 0.0f, 0.3f);
    for (int64_t i = 0; i < rows * cols; i++) numbers_.push_back(to_bf16(normal(random_)));
  }

  std::mt19937 random_{1};
  std::vector<bf16> numbers_;
  std::string path_;
};

SamplingOptions greedy() {
  SamplingOptions options{};
  options.top_p = options.repetition_penalty = 1;
  options.logprobs = -1;
  return options;
}

// The tokens [from, to) of a row whose pages are first_page, first_page + 1 ..; the last of them is sampled.
void add(Batch& b, int32_t row, int32_t first_page, const std::vector<int32_t>& ids, int32_t from, const SamplingOptions& options) {
  if (b.cu_seqlens_q.empty()) b.cu_seqlens_q = {0};
  for (int32_t p = from; p < from + static_cast<int32_t>(ids.size()); p++) {
    b.token_ids.push_back(ids[p - from]);
    b.positions.push_back(p);
    b.slot_mapping.push_back(first_page * 16 + p);
    if (p % 16 == 0) b.page_updates.insert(b.page_updates.end(), {row, p / 16, first_page + p / 16});
  }
  b.cu_seqlens_q.push_back(static_cast<int32_t>(b.tokens()));
  b.context_lens.push_back(from + static_cast<int32_t>(ids.size()));
  b.rows.push_back(row);
  b.sample_at.push_back(static_cast<int32_t>(b.tokens() - 1));
  b.sample_row.push_back(row);
  b.sampling.push_back(options);
}

Batch prompts() {
  Batch b;
  SamplingOptions penalized = greedy(), drawn = greedy();
  penalized.frequency_penalty = 0.5f;
  drawn.temperature = 1;
  drawn.top_k = 20;
  drawn.seed = 7;
  drawn.logprobs = 3;
  std::vector<int32_t> ids(20);
  for (int32_t i = 0; i < 20; i++) ids[i] = (i * 37 + 5) % 69;
  add(b, 0, 0, ids, 0, penalized);
  add(b, 1, 2, {3, 1, 4, 1, 5}, 0, drawn);
  b.history_rows = {0};
  b.history_offsets = {0, 20};
  b.history_generated = {0};
  b.history_ids = ids;
  b.bias_offsets = {0, 1, 1};
  b.bias_ids = {9};
  b.bias_values = {2};
  b.mask_samples = {1};
  b.mask_bits = {-1, 0xffff, 0};
  b.score_at = {0, 7, 3, 20};  // more than are sampled at most
  b.score_ids = {9, 1, 68, 9};
  return b;
}

// -1: what was last sampled for the row.
Batch decode(int32_t step) {
  Batch b;
  add(b, 0, 0, {-1}, 20 + step, greedy());
  add(b, 1, 2, {-1}, 5 + step, greedy());
  return b;
}

}  // namespace

std::vector<int32_t> load_and_step() {
  static const Checkpoint* checkpoint = new Checkpoint;
  static const bool leaves = std::atexit([] { delete checkpoint; }) == 0;
  expect(leaves, "atexit");
  Model model(make_backend("emulated", 1), kGeometry, kCapacity, checkpoint->plan, [](uint64_t, uint64_t) {});
  std::vector<int32_t> said;
  const auto hear = [&] {
    while (!model.ready()) {
    }
    const StepResult result = model.finish();
    for (const std::vector<int32_t>* ids : {&result.ids, &result.top_ids, &result.routes}) said.insert(said.end(), ids->begin(), ids->end());
    for (const std::vector<float>* logprobs : {&result.logprobs, &result.scores})
      for (float p : *logprobs) said.push_back(static_cast<int32_t>(p * 1e4f));
  };
  std::vector<float> sizes = model.measure_kv({3, 1, 4, 1, 5});
  for (float& size : sizes) {
    said.push_back(static_cast<int32_t>(size * 1e4f));
    size /= 200;
  }
  model.set_kv_scales(sizes);
  model.start(prompts());
  model.start(decode(0));
  hear();
  for (int32_t step = 1; step < 4; step++) {
    model.start(decode(step));
    hear();
  }
  hear();
  model.copy_pages({0}, {4});
  std::vector<uint8_t> page(model.page_bytes());
  model.read_pages({4}, page);
  model.write_pages({5}, page);
  said.insert(said.end(), page.begin(), page.end());
  return said;
}

}  // namespace m2::test
