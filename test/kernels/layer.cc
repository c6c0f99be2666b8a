// One layer and the head, op behind op as the model has them: what one kernel leaves for the next.
#include "kernels/cases.h"

namespace m2::kernels {
namespace {

// Every expert takes every token, so that rounding sends none elsewhere. rounds: weights and KV are FP8, and so is what meets them.
struct Sizes {
  int64_t C = 64, Hq = 6, Hk = 1, D = 64, R = 32, E = 3, F = 32, V = 90, S = 16;
  bool rounds = false;

  WeightType type() const { return rounds ? WeightType{.format = WeightFormat::kFp8, .fp8_rows = true} : WeightType{}; }
};

using Run = std::function<void(const std::function<void()>&)>;

Result layer(Arena& a, const Run& run, const std::vector<std::pair<int64_t, int64_t>>& sequences, const Sizes& z) {
  Random r(21);
  Backend& ops = a.ops;
  int64_t T = 0, most_pages = 1, max_queries = 0;
  std::vector<int32_t> cu{0}, lens, rows, positions, slots, tables, last;
  for (const auto& [queries, context] : sequences) {
    most_pages = std::max(most_pages, (context + z.S - 1) / z.S);
    max_queries = std::max(max_queries, queries);
  }
  const int64_t B = static_cast<int64_t>(sequences.size());
  for (int64_t b = 0; b < B; b++) {
    const auto [queries, context] = sequences[b];
    for (int64_t i = 0; i < most_pages; i++) tables.push_back(static_cast<int32_t>(b * most_pages + i));
    for (int64_t p = context - queries; p < context; p++) {
      positions.push_back(static_cast<int32_t>(p));
      slots.push_back(static_cast<int32_t>((b * most_pages + p / z.S) * z.S + p % z.S));
    }
    T += queries;
    cu.push_back(static_cast<int32_t>(T));
    lens.push_back(static_cast<int32_t>(context));
    rows.push_back(static_cast<int32_t>(b));
    last.push_back(static_cast<int32_t>(T - 1));
  }
  const auto weight = [&](int64_t experts, int64_t n, int64_t k, WeightLayout layout) { return a.weight(experts, n, k, layout, r.normals(experts * n * k, 1 / std::sqrt(static_cast<float>(k))), z.type()); };
  const auto norm = [&](int64_t width) { return a.floats(r.normals(width, 0.1f, 1), {width}); };
  const int64_t qkv_width = (z.Hq + 2 * z.Hk) * z.D, q_width = z.Hq * z.D, TA = T * z.E;
  const Weight qkv_weight = weight(1, qkv_width, z.C, WeightLayout::kRows), o_weight = weight(1, z.C, q_width, WeightLayout::kRows);
  const Weight w13 = weight(z.E, 2 * z.F, z.C, WeightLayout::kGateUp), w2 = weight(z.E, z.C, z.F, WeightLayout::kRows), head = weight(1, z.V, z.C, WeightLayout::kRows);
  const View table = a.halves(r.normals(z.V * z.C), {z.V, z.C}), input_norm = norm(z.C), q_norm = norm(q_width), k_norm = norm(z.Hk * z.D), post_norm = norm(z.C), final_norm = norm(z.C);
  const View gate = a.floats(r.normals(z.E * z.C, 0.1f), {z.E, z.C}), bias = a.floats(r.normals(z.E, 0.1f), {z.E});
  std::vector<float> rope(most_pages * z.S * z.R);
  for (size_t i = 0; i < rope.size(); i++) rope[i] = i % z.R < static_cast<size_t>(z.R / 2) ? std::cos(0.3f * i) : std::sin(0.3f * i);
  const View rope_table = a.floats(rope, {most_pages * z.S, z.R});
  const KvCache kv = a.kv(z.rounds ? DType::kF8E4m3 : DType::kBf16, B * most_pages, 1, z.Hk, z.S, z.D, rounded(r.normals(B * most_pages * 2 * z.Hk * z.S * z.D)));
  std::vector<int32_t> ids(T);
  for (int32_t& id : ids) id = static_cast<int32_t>(r.below(z.V));

  const DType act = ops.activations();
  const View token_ids = a.ints(ids), x = a.out(DType::kF32, {T, z.C}), h_f32 = a.out(DType::kF32, {T, z.C}), h_bf16 = a.out(DType::kBf16, {T, z.C}), h = act == DType::kF32 ? h_f32 : h_bf16;
  const View qkv = a.act_out({T, qkv_width}), q = a.act_out({T, z.Hq, z.D}), attended = a.act_out({T, q_width});
  const View expert_ids = a.out(DType::kI32, {T, z.E}), expert_weights = a.out(DType::kF32, {T, z.E}), offsets = a.out(DType::kI32, {z.E + 1});
  const View source = a.out(DType::kI32, {TA}), target = a.out(DType::kI32, {T, z.E}), swiglu = a.out(DType::kBf16, {TA, z.F}), y = a.act_out({TA, z.C});
  const View last_rows = a.act_out({B, z.C}), logits = a.out(DType::kF32, {B, z.V}), sampled = a.out(DType::kI32, {B}), last_ids = a.ints(std::vector<int32_t>(B, 0));
  const View position_view = a.ints(positions), slot_view = a.ints(slots), table_view = a.ints(tables, {B, most_pages}), row_view = a.ints(rows), cu_view = a.ints(cu), len_view = a.ints(lens);
  const View live = a.ints({static_cast<int32_t>(T)}), last_view = a.ints(last);
  SampleArgs sample;
  const SamplingOptions greedy{.temperature = 0, .top_p = 1, .min_p = 0, .repetition_penalty = 1, .presence_penalty = 0, .frequency_penalty = 0, .top_k = 0, .logprobs = -1, .seed = 0,
                               .position = 0, .sample_index = 0};
  sample.logits = logits;
  sample.options = a.records(std::vector<SamplingOptions>(B, greedy));
  sample.rows = row_view;
  sample.last_ids = last_ids;
  sample.ids = sampled;

  run([&] {
    ops.embed({token_ids, last_ids, table, x});
    ops.rms_norm({x, {}, input_norm, 1e-6f, h, {}});
    ops.linear({h, &qkv_weight, qkv});
    ops.qk_norm_rope_store({qkv, q_norm, k_norm, 1e-6f, position_view, rope_table, slot_view, kv, 0, q});
    ops.attention({q, kv, 0, table_view, row_view, cu_view, len_view, max_queries, 0.125f, attended, z.rounds});
    ops.linear({attended, &o_weight, x, true});
    ops.route({x, post_norm, 1e-6f, gate, bias, live, h_f32, h_bf16, expert_ids, expert_weights, offsets, source, target});
    ops.grouped_gate_up({h_bf16, source, offsets, &w13, swiglu});
    ops.experts_down({swiglu, offsets, &w2, y, target, expert_weights, x});
    ops.rms_norm({x, last_view, final_norm, 1e-6f, last_rows, {}});
    ops.linear({last_rows, &head, logits});
    ops.sample(sample);
  });
  Result result{a.read(x), {}, z.rounds ? 0x1p-3 : kActivationError};  // what is near the middle of two e4m3 may become the other one, op after op
  for (const View& more : {logits, expert_weights}) {
    const std::vector<float> values = a.read(more);
    result.numbers.insert(result.numbers.end(), values.begin(), values.end());
  }
  return result;
}

}  // namespace

std::vector<Case> layer_cases() {
  using Sequences = std::vector<std::pair<int64_t, int64_t>>;
  const auto one = [](const char* what, const Sequences& sequences, const Sizes& sizes = {}) {
    return Case{"layer", what, 0, [=](Arena& a, const Run& run) { return layer(a, run, sequences, sizes); }};
  };
  const Sequences decode{{1, 20}, {1, 70}, {1, 1}};
  constexpr Sizes kRounded{.C = 128, .F = 128, .rounds = true};
  // The first run prepares, the second records, the third replays.
  const Case replayed{"layer", "decode of 3, replayed", 0, [=](Arena& a, const Run& run) {
                        static uint64_t key = 1 << 20;
                        key++;
                        const auto thrice = [&](const std::function<void()>& ops) {
                          for (int i = 0; i < 3; i++) a.ops.replay(key, ops);
                        };
                        return layer(a, [&](const std::function<void()>& ops) { run([&] { thrice(ops); }); }, decode, {});
                      }};
  return {one("decode of 3", decode), one("prompts of 50 and 30", {{50, 50}, {30, 45}}), one("a prompt and a decode", {{40, 70}, {1, 33}}),
          one("decode of 3, heads of 96", decode, {.D = 96}), replayed, one("decode of 3, in FP8", decode, kRounded),
          one("a prompt and a decode, in FP8", {{40, 70}, {1, 33}}, kRounded)};
}

}  // namespace m2::kernels
