#include "kernels/cases.h"

#include <numeric>

namespace m2::kernels {
namespace {

using Run = std::function<void(const std::function<void()>&)>;

template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

Case embed(int64_t tokens, int64_t vocab, int64_t width) {
  return {"embed", text(tokens, " x ", width), 6.0 * tokens * width, [=](Arena& a, const Run& run) {
            Random r(1);
            std::vector<int32_t> ids(tokens);
            for (int32_t& id : ids) id = static_cast<int32_t>(r.below(vocab));
            ids[0] = -2;
            const View out = a.out(DType::kF32, {tokens, width}), table = a.halves(r.normals(vocab * width), {vocab, width});
            const EmbedArgs args{a.ints(ids), a.ints({3, 5}), table, out};
            run([&] { a.ops.embed(args); });
            return Result{{}, a.read(out)};
          }};
}

Case rms_norm(int64_t tokens, int64_t width) {
  return {"rms_norm", text(tokens, " x ", width), 10.0 * tokens * width, [=](Arena& a, const Run& run) {
            Random r(2);
            const View out = a.out(DType::kF32, {tokens, width}), out_bf16 = a.out(DType::kBf16, {tokens, width}), x = a.floats(r.normals(tokens * width), {tokens, width});
            const RmsNormArgs args{x, {}, a.floats(r.normals(width, 0.2f, 1), {width}), 1e-6f, out, out_bf16};
            run([&] { a.ops.rms_norm(args); });
            Result result{a.read(out), {}};
            const std::vector<float> rounded = a.read(out_bf16);
            result.numbers.insert(result.numbers.end(), rounded.begin(), rounded.end());
            return result;
          }};
}

Case qk_norm_rope_store(int64_t tokens, int64_t heads, int64_t kv_heads, int64_t dim, int64_t rotary, DType kv_dtype) {
  const int64_t width = (heads + 2 * kv_heads) * dim;
  const double bytes = 2.0 * tokens * width + 2.0 * tokens * heads * dim + 2.0 * tokens * kv_heads * dim * dtype_bytes(kv_dtype);
  return {"qk_norm_rope_store", text(tokens, " x ", heads, "/", kv_heads, " heads of ", dim, ", ", dtype_name(kv_dtype), " KV"), bytes, [=](Arena& a, const Run& run) {
            Random r(3);
            const int64_t page_size = 16, pages = (tokens + page_size - 1) / page_size + 1, max_positions = 64;
            std::vector<float> rope(max_positions * rotary);
            for (size_t i = 0; i < rope.size(); i++) rope[i] = static_cast<float>(i % rotary < static_cast<size_t>(rotary / 2) ? std::cos(0.1 * i) : std::sin(0.1 * i));
            std::vector<int32_t> positions(tokens), slots = r.shuffled(pages * page_size);
            for (int32_t& p : positions) p = static_cast<int32_t>(r.below(max_positions));
            slots.resize(tokens);
            if (tokens > 2) slots[2] = -1;
            KvCache kv = a.kv(kv_dtype, pages, 2, kv_heads, page_size, dim, std::vector<float>(pages * 4 * kv_heads * page_size * dim, 7));
            const View q = a.act_out({tokens, heads, dim}), qkv = a.act(r.normals(tokens * width), {tokens, width});
            const QkNormRopeStoreArgs args{qkv, a.floats(r.normals(heads * dim, 0.2f, 1), {heads * dim}), a.floats(r.normals(kv_heads * dim, 0.2f, 1), {kv_heads * dim}), 1e-6f,
                                           a.ints(positions), a.floats(rope, {max_positions, rotary}), a.ints(slots), kv, 1, q};
            run([&] { a.ops.qk_norm_rope_store(args); });
            Result result{a.read(q), {}};
            const std::vector<float> stored = a.read(kv);
            result.numbers.insert(result.numbers.end(), stored.begin(), stored.end());
            return result;
          }};
}

constexpr WeightType kBf16Weights{}, kFp8Weights{.format = WeightFormat::kFp8}, kInt4Weights{.format = WeightFormat::kInt4, .group = 128};
constexpr WeightType kInt4Zeros{.format = WeightFormat::kInt4, .group = 32, .zeros = true};
constexpr WeightType kFp8Rows{.format = WeightFormat::kFp8, .fp8_rows = true}, kInt4Fp8Rows{.format = WeightFormat::kInt4, .group = 128, .fp8_rows = true};
constexpr WeightType kInt4ZerosFp8Rows{.format = WeightFormat::kInt4, .group = 32, .zeros = true, .fp8_rows = true};

std::string name_of(const WeightType& type) {
  if (type.format == WeightFormat::kBf16) return "";
  const std::string format = type.format == WeightFormat::kFp8 ? ", FP8" : text(", int4 by ", type.group, type.zeros ? " with zeros" : "");
  return type.fp8_rows ? format + ", rows FP8" : format;
}

// Bytes of one weight with its share of the scales.
double bytes_of(const WeightType& type) {
  switch (type.format) {
    case WeightFormat::kFp8: return 1 + 4.0 / (kScaleBlock * kScaleBlock);
    case WeightFormat::kInt4: return 0.5 + (type.zeros ? 2.5 : 2.0) / static_cast<double>(type.group);
    default: return 2;
  }
}

Case linear(int64_t tokens, int64_t n, int64_t k, bool accumulate, bool to_act, WeightType type = {}) {
  const double out_bytes = accumulate ? 8 : to_act ? 2 : 4;
  return {"linear", text(tokens, " x ", k, " to ", n, accumulate ? ", added" : to_act ? ", activations" : "", name_of(type)), bytes_of(type) * n * k + 2.0 * tokens * k + out_bytes * tokens * n,
          [=](Arena& a, const Run& run) {
            Random r(4);
            const Weight w = a.weight(1, n, k, WeightLayout::kRows, r.normals(n * k, 1 / std::sqrt(static_cast<float>(k))), type);
            const View x = a.act(r.normals(tokens * k), {tokens, k});
            const View out = accumulate ? a.floats(r.normals(tokens * n), {tokens, n}) : to_act ? a.act_out({tokens, n}) : a.out(DType::kF32, {tokens, n});
            run([&] { a.ops.linear({x, &w, out, accumulate}); });
            return Result{a.read(out), {}};
          }};
}

// A routing: for each token its experts, sorted as RouteArgs says.
struct Routing {
  std::vector<int32_t> offsets, source, target;
  int64_t used = 0;
};

Routing routing(int64_t tokens, int64_t experts, int64_t active) {
  Random r(5);
  std::vector<std::vector<int32_t>> pairs(experts);
  for (int64_t t = 0; t < tokens; t++) {
    const std::vector<int32_t> order = r.shuffled(experts);
    for (int64_t a = 0; a < active; a++) pairs[order[a]].push_back(static_cast<int32_t>(t * active + a));
  }
  Routing routing{{0}, {}, std::vector<int32_t>(tokens * active), 0};
  for (const auto& of_expert : pairs) {
    for (int32_t pair : of_expert) {
      routing.target[pair] = static_cast<int32_t>(routing.source.size());
      routing.source.push_back(pair);
    }
    routing.offsets.push_back(static_cast<int32_t>(routing.source.size()));
    routing.used += !of_expert.empty();
  }
  return routing;
}

Case gate_up(int64_t tokens, int64_t experts, int64_t active, int64_t width, int64_t hidden, WeightType type = {}) {
  const Routing g = routing(tokens, experts, active);
  const int64_t rows = tokens * active;
  return {"grouped_gate_up", text(tokens, " x ", active, " of ", experts, " experts, ", width, " to ", hidden, name_of(type)), 2 * bytes_of(type) * g.used * hidden * width + 2.0 * tokens * width + 2.0 * rows * hidden,
          [=](Arena& a, const Run& run) {
            Random r(6);
            const Weight w = a.weight(experts, 2 * hidden, width, WeightLayout::kGateUp, r.normals(experts * 2 * hidden * width, 1 / std::sqrt(static_cast<float>(width))), type);
            const View x = a.halves(r.normals(tokens * width), {tokens, width}), out = a.out(DType::kBf16, {rows, hidden});
            const GroupedGateUpArgs args{x, a.ints(g.source), a.ints(g.offsets), &w, out};
            run([&] { a.ops.grouped_gate_up(args); });
            return Result{a.read(out), {}};
          }};
}

Case grouped_linear(int64_t tokens, int64_t experts, int64_t active, int64_t k, int64_t n, WeightType type = {}) {
  const Routing g = routing(tokens, experts, active);
  const int64_t rows = tokens * active;
  return {"grouped_linear", text(tokens, " x ", active, " of ", experts, " experts, ", k, " to ", n, name_of(type)), bytes_of(type) * g.used * n * k + 2.0 * rows * k + 2.0 * rows * n, [=](Arena& a, const Run& run) {
            Random r(7);
            const Weight w = a.weight(experts, n, k, WeightLayout::kRows, r.normals(experts * n * k, 1 / std::sqrt(static_cast<float>(k))), type);
            const View x = a.halves(r.normals(rows * k), {rows, k}), out = a.act_out({rows, n});
            const GroupedLinearArgs args{x, a.ints(g.offsets), &w, out};
            run([&] { a.ops.grouped_linear(args); });
            return Result{a.read(out), {}};
          }};
}

// live: tokens that have experts.
Case experts_down(int64_t tokens, int64_t experts, int64_t active, int64_t k, int64_t n, WeightType type = {}, int64_t live = -1) {
  Routing g = routing(live < 0 ? tokens : live, experts, active);
  g.source.resize(tokens * active, -7);
  g.target.resize(tokens * active, -1);
  const int64_t rows = tokens * active;
  return {"experts_down", text(tokens, " x ", active, " of ", experts, " experts, ", k, " to ", n, name_of(type), live < 0 ? "" : text(", ", live, " live")),
          bytes_of(type) * g.used * n * k + 2.0 * rows * k + 2.0 * rows * n + 8.0 * tokens * n, [=](Arena& a, const Run& run) {
            Random r(9);
            const Weight w = a.weight(experts, n, k, WeightLayout::kRows, r.normals(experts * n * k, 1 / std::sqrt(static_cast<float>(k))), type);
            const View x = a.halves(r.normals(rows * k), {rows, k}), y = a.act_out({rows, n}), weights = a.floats(r.normals(rows, 0.1f, 0.2f), {tokens, active});
            const View out = a.floats(r.normals(tokens * n), {tokens, n});
            const ExpertsDownArgs args{x, a.ints(g.offsets), &w, y, a.ints(g.target, {tokens, active}), weights, out};
            run([&] {
              a.ops.experts_down(args);
              a.ops.experts_down(args);  // what the first one counted by is zero again
            });
            return Result{a.read(out), {}};
          }};
}

struct Sequence {
  int64_t queries, context;
};

Case attention(std::vector<Sequence> sequences, int64_t heads, int64_t kv_heads, int64_t dim, int64_t page_size, DType dtype, bool rounds = false) {
  int64_t tokens = 0, most_pages = 1, pages = 1, max_queries = 0;
  double context = 0;
  for (const Sequence& s : sequences) {
    tokens += s.queries;
    max_queries = std::max(max_queries, s.queries);
    const int64_t own = (s.context + page_size - 1) / page_size;
    most_pages = std::max(most_pages, own);
    pages += own;
    if (s.queries > 0) context += s.context;
  }
  std::string what;
  for (size_t i = 0; i < sequences.size() && i < 4; i++) what += text(i ? ", " : "", sequences[i].queries, " on ", sequences[i].context);
  if (sequences.size() > 4) what += text(" and ", sequences.size() - 4, " more");
  return {"attention", text(what, "; ", heads, "/", kv_heads, " heads of ", dim, ", ", dtype_name(dtype), " KV, pages of ", page_size, rounds ? ", rounded" : ""),
          2.0 * context * kv_heads * dim * dtype_bytes(dtype) + 4.0 * tokens * heads * dim, [=](Arena& a, const Run& run) {
            Random r(8);
            // Pages in any order; what no context reaches is NaN.
            const std::vector<int32_t> order = r.shuffled(pages);
            KvCache shape{nullptr, dtype, pages, 1, kv_heads, page_size, dim};
            std::vector<float> cache(pages * shape.page_elements(), NAN);
            std::vector<int32_t> tables(sequences.size() * most_pages, -1), rows, cu{0}, lens;
            int64_t next = 0;
            for (size_t s = 0; s < sequences.size(); s++) {
              for (int64_t at = 0; at < sequences[s].context; at++) {
                if (at % page_size == 0) tables[s * most_pages + at / page_size] = order[next++];
                for (int64_t which = 0; which < 2; which++) {
                  for (int64_t h = 0; h < kv_heads; h++) {
                    float* slot = cache.data() + shape.tile(tables[s * most_pages + at / page_size], 0, which, h) + at % page_size * dim;
                    for (int64_t d = 0; d < dim; d++) slot[d] = r.normal();
                  }
                }
              }
              rows.push_back(static_cast<int32_t>(s));
              cu.push_back(cu.back() + static_cast<int32_t>(sequences[s].queries));
              lens.push_back(static_cast<int32_t>(sequences[s].context));
            }
            const View q = a.act(r.normals(tokens * heads * dim), {tokens, heads, dim}), out = a.act_out({tokens, heads * dim});
            const AttentionArgs args{q, a.kv(dtype, pages, 1, kv_heads, page_size, dim, cache), 0, a.ints(tables, {static_cast<int64_t>(sequences.size()), most_pages}), a.ints(rows),
                                     a.ints(cu), a.ints(lens), max_queries, 1 / std::sqrt(static_cast<float>(dim)), out, rounds};
            run([&] { a.ops.attention(args); });
            return Result{a.read(out), {}, rounds ? 0x1p-4 : kActivationError};  // weights in e4m3 have three bits, relative to other scores here and there
          }};
}

Case route(int64_t tokens, int64_t experts, int64_t active, int64_t width, int64_t live) {
  return {"route", text(tokens, " x ", width, ", ", active, " of ", experts, " experts", live < tokens ? text(", ", live, " live") : ""),
          6.0 * tokens * width + 4.0 * experts * width + 20.0 * tokens * active, [=](Arena& a, const Run& run) {
            Random r(9);
            const int64_t pairs = tokens * active;
            const View ids = a.out(DType::kI32, {tokens, active}), weights = a.out(DType::kF32, {tokens, active}), offsets = a.out(DType::kI32, {experts + 1});
            const View source = a.out(DType::kI32, {pairs}), target = a.out(DType::kI32, {tokens, active});
            const View x = a.floats(r.normals(tokens * width), {tokens, width}), gate = a.floats(r.normals(experts * width, 1 / std::sqrt(static_cast<float>(width))), {experts, width});
            const View norm = a.floats(r.normals(width, 0.1f, 1), {width}), room = a.out(DType::kF32, {tokens, width}), h = a.out(DType::kBf16, {tokens, width});
            const RouteArgs args{x, norm, 1e-6f, gate, a.floats(r.normals(experts, 0.3f), {experts}), a.ints({static_cast<int32_t>(live)}), room, h, ids, weights, offsets, source, target};
            run([&] { a.ops.route(args); });
            Result result{a.read(weights), a.read(ids)};
            const std::vector<float> normed = a.read(h);
            result.numbers.insert(result.numbers.end(), normed.begin(), normed.end());
            std::vector<float> sorted = a.read(source);
            sorted.resize(live * active);  // what lies behind means nothing
            for (const std::vector<float>& more : {a.read(offsets), sorted, a.read(target)}) result.exact.insert(result.exact.end(), more.begin(), more.end());
            return result;
          }};
}

Case unpermute(int64_t tokens, int64_t active, int64_t width) {
  const Routing g = routing(tokens, std::max<int64_t>(active, 8), active);
  return {"unpermute", text(tokens, " x ", active, " x ", width), 2.0 * tokens * active * width + 8.0 * tokens * width, [=](Arena& a, const Run& run) {
            Random r(10);
            const View y = a.act(r.normals(tokens * active * width), {tokens * active, width}), out = a.floats(r.normals(tokens * width), {tokens, width});
            std::vector<float> weights(tokens * active);
            for (float& w : weights) w = static_cast<float>(r.uniform());
            const UnpermuteArgs args{y, a.ints(g.target, {tokens, active}), a.floats(weights, {tokens, active}), out};
            run([&] { a.ops.unpermute(args); });
            return Result{a.read(out), {}};
          }};
}

Case set_pages(int64_t rows, int64_t per_row, int64_t updates) {
  return {"set_pages", text(updates, " of ", rows, " x ", per_row), 16.0 * updates, [=](Arena& a, const Run& run) {
            Random r(11);
            const std::vector<int32_t> places = r.shuffled(rows * per_row);
            std::vector<int32_t> triples;
            for (int64_t u = 0; u < updates; u++) triples.insert(triples.end(), {static_cast<int32_t>(places[u] / per_row), static_cast<int32_t>(places[u] % per_row), static_cast<int32_t>(u)});
            const View tables = a.out(DType::kI32, {rows, per_row});
            const SetPagesArgs args{a.ints(triples, {updates, 3}), tables};
            run([&] { a.ops.set_pages(args); });
            return Result{{}, a.read(tables)};
          }};
}

Case start_histories(int64_t rows, int64_t vocab, int64_t length) {
  return {"start_histories", text(rows, " of ", vocab, ", ", length, " ids"), 4.0 * rows * vocab + 4.0 * rows * length, [=](Arena& a, const Run& run) {
            Random r(12);
            std::vector<int32_t> ids(rows * length), offsets, generated(rows, static_cast<int32_t>(length / 3));
            for (int32_t& id : ids) id = static_cast<int32_t>(r.below(std::min<int64_t>(vocab, 50)));
            for (int64_t i = 0; i <= rows; i++) offsets.push_back(static_cast<int32_t>(i * length));
            const View history = a.out(DType::kI32, {rows + 1, vocab});
            std::vector<int32_t> order = r.shuffled(rows + 1);
            order.resize(rows);
            const StartHistoriesArgs args{a.ints(order), a.ints(offsets), a.ints(generated), a.ints(ids), history};
            run([&] { a.ops.start_histories(args); });
            return Result{{}, a.read(history)};
          }};
}

constexpr SamplingOptions kNeutral{.temperature = 1, .top_p = 1, .min_p = 0, .repetition_penalty = 1, .presence_penalty = 0, .frequency_penalty = 0, .top_k = 0, .logprobs = -1,
                                   .seed = 7, .position = 0, .sample_index = 0};

// `extras`: bias, mask, bans, penalties and logprobs for some of the rows.
Case sample(int64_t rows, int64_t vocab, SamplingOptions options, float spread, bool extras) {
  const std::string what = text(rows, " x ", vocab, ", temperature ", options.temperature, ", top-k ", options.top_k, ", top-p ", options.top_p, ", min-p ", options.min_p,
                                extras ? ", extras" : "", spread == 0 ? ", all equal" : "");
  return {"sample", what, 4.0 * rows * vocab, [=](Arena& a, const Run& run) {
            Random r(13);
            const int64_t words = (vocab + 31) / 32, K = extras ? 5 : 0;
            std::vector<SamplingOptions> all(rows, options);
            std::vector<int32_t> row_of(rows), bias_offsets{0}, bias_ids, mask_index(rows, -1), mask_bits(words, 0x5a5a5a5a), banned(words, 0);
            std::vector<float> bias_values;
            banned[0] = 8;
            for (int64_t n = 0; n < rows; n++) {
              all[n].position = static_cast<uint32_t>(100 + n);
              row_of[n] = static_cast<int32_t>(rows - 1 - n);
              if (extras && n % 2 == 0) {
                all[n].logprobs = static_cast<int32_t>(5 - n % 6);
                all[n].frequency_penalty = 0.5f;
                bias_ids.push_back(static_cast<int32_t>(n % vocab));
                bias_values.push_back(2);
              }
              if (extras && n % 3 == 1) mask_index[n] = 0;
              bias_offsets.push_back(static_cast<int32_t>(bias_ids.size()));
            }
            if (rows > 2) row_of[2] = -1;
            std::vector<int32_t> history(rows * vocab);
            for (int32_t& seen : history) seen = static_cast<int32_t>(r.below(9) / 4);
            SampleArgs args;
            args.logits = a.floats(r.normals(rows * vocab, spread), {rows, vocab});
            args.options = a.records(all);
            args.rows = a.ints(row_of);
            args.last_ids = a.ints(std::vector<int32_t>(rows, 0));
            args.history = a.ints(history, {rows, vocab});
            args.banned = a.ints(banned);
            if (extras) {
              args.bias_offsets = a.ints(bias_offsets);
              args.bias_ids = a.ints(bias_ids);
              args.bias_values = a.floats(bias_values, {static_cast<int64_t>(bias_values.size())});
              args.mask_index = a.ints(mask_index);
              args.mask_bits = a.ints(mask_bits, {1, words});
            }
            args.ids = a.out(DType::kI32, {rows});
            args.logprobs = a.floats(std::vector<float>(rows, 0), {rows});
            if (K > 0) {
              args.top_ids = a.ints(std::vector<int32_t>(rows * K, 0), {rows, K});
              args.top_logprobs = a.floats(std::vector<float>(rows * K, 0), {rows, K});
            }
            run([&] { a.ops.sample(args); });
            Result result{a.read(args.logprobs), a.read(args.ids)};
            for (const View& ints : {args.last_ids, args.history}) {
              const std::vector<float> more = a.read(ints);
              result.exact.insert(result.exact.end(), more.begin(), more.end());
            }
            if (K > 0) {
              const std::vector<float> ids = a.read(args.top_ids), logprobs = a.read(args.top_logprobs);
              result.exact.insert(result.exact.end(), ids.begin(), ids.end());
              result.numbers.insert(result.numbers.end(), logprobs.begin(), logprobs.end());
            }
            return result;
          }};
}

SamplingOptions with(float temperature, int32_t top_k, float top_p, float min_p) {
  SamplingOptions options = kNeutral;
  options.temperature = temperature;
  options.top_k = top_k;
  options.top_p = top_p;
  options.min_p = min_p;
  return options;
}

// Ids that are given: their logprobs, and nobody gets anything. One row is padding.
Case score(int64_t rows, int64_t vocab) {
  return {"sample", text(rows, " x ", vocab, ", targets"), 4.0 * rows * vocab, [=](Arena& a, const Run& run) {
            Random r(17);
            SamplingOptions options = with(0, 0, 1, 0);
            options.logprobs = 0;
            std::vector<int32_t> targets(rows), row_of(rows, 0);
            for (int32_t& id : targets) id = static_cast<int32_t>(r.below(vocab));
            row_of[1] = -1;
            SampleArgs args;
            args.logits = a.floats(r.normals(rows * vocab, 3), {rows, vocab});
            args.options = a.records(std::vector<SamplingOptions>(rows, options));
            args.rows = a.ints(row_of);
            args.last_ids = a.ints(std::vector<int32_t>(1, 5));
            args.targets = a.ints(targets);
            args.ids = a.out(DType::kI32, {rows});
            args.logprobs = a.floats(std::vector<float>(rows, 0), {rows});
            run([&] { a.ops.sample(args); });
            Result result{a.read(args.logprobs), a.read(args.ids)};
            result.exact.push_back(a.read(args.last_ids)[0]);
            return result;
          }};
}

}  // namespace

std::vector<Case> small_cases() {
  constexpr DType kF32 = DType::kF32, kBf16 = DType::kBf16, kF8 = DType::kF8E4m3;
  return {
      embed(3, 9, 96),
      rms_norm(2, 1056),
      rms_norm(1, 4224),
      qk_norm_rope_store(4, 6, 1, 128, 64, kBf16),
      qk_norm_rope_store(3, 4, 2, 64, 18, kF32),
      qk_norm_rope_store(4, 6, 1, 128, 64, kF8),
      linear(1, 40, 96, false, true),
      linear(5, 48, 1600, true, false),
      linear(12, 33, 3200, false, false),
      linear(33, 70, 96, false, false),
      linear(70, 140, 1600, true, false),
      linear(130, 130, 160, false, true),
      linear(3, 40, 1600, false, false, kFp8Weights),
      linear(33, 70, 160, true, false, kFp8Weights),
      linear(70, 140, 1600, false, true, kFp8Weights),
      linear(130, 130, 96, false, false, kFp8Weights),
      linear(3, 40, 1600, false, false, kInt4Weights),
      linear(33, 70, 160, true, false, kInt4Weights),
      linear(70, 140, 1600, false, true, kInt4Weights),
      linear(130, 130, 96, false, false, kInt4Weights),
      linear(12, 40, 160, false, false, kInt4Zeros),
      linear(33, 70, 96, true, false, kInt4Zeros),
      linear(70, 140, 160, false, true, kInt4Zeros),
      linear(130, 130, 96, false, false, kInt4Zeros),
      gate_up(2, 6, 2, 96, 32),
      gate_up(16, 5, 3, 1600, 32),
      gate_up(70, 4, 2, 96, 96),
      gate_up(2, 6, 2, 96, 32, kInt4Weights),
      gate_up(70, 4, 2, 160, 96, kFp8Weights),
      grouped_linear(2, 6, 2, 96, 40),
      grouped_linear(40, 5, 3, 160, 64),
      grouped_linear(150, 3, 2, 64, 130),
      grouped_linear(2, 6, 2, 96, 40, kFp8Weights),
      grouped_linear(40, 5, 3, 160, 64, kInt4Zeros),
      linear(1, 16, 32, false, false, kInt4Zeros),
      linear(16, 33, 3104, true, false, kInt4Weights),
      linear(9, 24, 12416, false, false, kInt4Weights),
      linear(17, 40, 1568, false, true, kFp8Weights),
      grouped_linear(20, 3, 1, 1536, 40, kInt4Zeros),
      experts_down(1, 9, 4, 96, 64, kInt4Weights),
      experts_down(5, 4, 2, 1568, 32, kFp8Weights, 3),
      experts_down(16, 12, 4, 160, 96),
      experts_down(100, 3, 2, 64, 64, kInt4Zeros),
      experts_down(3, 9, 4, 1664, 96, kInt4Fp8Rows, 2),
      experts_down(16, 12, 4, 128, 32, kFp8Rows),
      experts_down(100, 3, 2, 128, 64, kInt4Fp8Rows),
      linear(9, 24, 12416, true, false, kFp8Rows),
      linear(3, 40, 1664, false, false, kInt4ZerosFp8Rows),
      attention({{1, 1}, {1, 63}, {1, 200}, {0, 0}}, 6, 1, 128, 64, kBf16),
      attention({{1, 1100}, {2, 66}}, 4, 2, 64, 16, kBf16),
      attention({{70, 70}, {40, 130}}, 6, 1, 128, 64, kBf16),
      attention({{30, 300}, {1, 129}, {0, 5}}, 12, 2, 64, 48, kBf16),
      attention({{9, 70}, {1, 130}}, 6, 2, 96, 16, kBf16),
      attention({{5, 40}, {1, 70}}, 6, 2, 64, 16, kF32),
      attention({{1, 63}, {1, 200}, {0, 0}}, 6, 1, 128, 64, kF8),
      attention({{1, 1100}, {2, 66}}, 4, 2, 64, 16, kF8),
      attention({{70, 70}, {40, 130}}, 6, 1, 128, 64, kF8),
      attention({{30, 300}, {1, 129}, {0, 5}}, 12, 2, 64, 48, kF8),
      attention({{9, 70}, {1, 130}}, 6, 2, 96, 16, kF8),
      attention({{3, 64}, {0, 9}, {30, 65}, {22, 128}, {23, 1024}}, 6, 1, 128, 16, kBf16),
      attention({{43, 1090}, {9, 127}}, 12, 2, 64, 8, kBf16),
      attention({{20, 1300}, {50, 50}}, 6, 1, 128, 128, kBf16),
      attention({{25, 63}, {3, 320}}, 12, 2, 128, 32, kF8),
      attention({{64, 1100}}, 4, 2, 64, 128, kF8),
      attention({{1, 63}, {1, 200}, {0, 0}}, 6, 1, 128, 64, kF8, true),
      attention({{1, 1100}, {2, 66}}, 4, 2, 64, 16, kF8, true),
      attention({{70, 70}, {40, 130}}, 6, 1, 128, 64, kF8, true),
      attention({{30, 300}, {1, 129}, {0, 5}}, 12, 2, 64, 48, kF8, true),
      attention({{9, 70}, {1, 130}}, 6, 2, 96, 16, kF8, true),
      attention({{25, 63}, {3, 320}}, 12, 2, 128, 32, kF8, true),
      attention({{43, 1090}, {9, 127}}, 12, 2, 64, 8, kF8, true),
      route(1, 256, 8, 96, 1),
      route(1, 17, 2, 800, 1),
      route(3, 40, 4, 32, 3),
      route(4, 15, 3, 768, 4),
      route(5, 33, 3, 160, 4),
      route(15, 16, 2, 1568, 15),
      route(16, 256, 8, 3104, 16),
      route(17, 24, 3, 736, 16),
      route(37, 70, 4, 64, 35),
      route(63, 31, 4, 96, 63),
      route(64, 129, 4, 64, 60),
      route(65, 20, 4, 800, 65),
      route(70, 40, 4, 96, 70),
      route(200, 256, 8, 64, 190),
      route(200, 300, 8, 832, 200),
      unpermute(3, 2, 1056),
      set_pages(5, 40, 70),
      start_histories(2, 700, 90),
      sample(4, 700, with(0, 0, 1, 0), 2, false),
      sample(4, 1500, with(1, 40, 0.95f, 0), 2, false),
      sample(4, 900, with(0.8f, 0, 0.9f, 0), 1, true),
      sample(3, 600, with(1.2f, 0, 1, 0.05f), 2, true),
      sample(4, 513, with(1, 0, 1, 0), 0, false),
      sample(3, 513, with(1, 7, 0.5f, 0), 0, false),
      sample(2, 2600, with(1, 7, 0.5f, 0), 0, false),
      sample(2, 2600, with(1, 1100, 0.2f, 0), 1, false),
      score(5, 900),
      score(3, 513),
  };
}

std::vector<Case> m2_cases() {
  constexpr int64_t C = 3072, Hq = 48, Hk = 8, D = 128, E = 256, A = 8, F = 1536, V = 200064, S = 64;
  std::vector<Case> cases;
  for (int64_t tokens : {1, 16, 128}) {
    cases.insert(cases.end(), {embed(tokens, 64, C), rms_norm(tokens, C), qk_norm_rope_store(tokens, Hq, Hk, D, 64, DType::kBf16),
                               qk_norm_rope_store(tokens, Hq, Hk, D, 64, DType::kF8E4m3), route(tokens, E, A, C, tokens), unpermute(tokens, A, C)});
  }
  for (int64_t tokens : {1, 16}) {
    cases.insert(cases.end(), {linear(tokens, 1024, C, false, true), linear(tokens, C, 2 * C, true, false), linear(tokens, 4096, C, false, false), gate_up(tokens, 8, A, C, F / 4),
                               grouped_linear(tokens, 8, A, F, C / 4)});
  }
  for (const WeightType& type : {kFp8Weights, kInt4Weights, kFp8Rows, kInt4Fp8Rows}) {
    for (int64_t tokens : {1, 16}) {
      cases.insert(cases.end(), {linear(tokens, 1024, C, false, true, type), gate_up(tokens, 8, A, C, F / 4, type), grouped_linear(tokens, 8, A, F, C / 4, type), experts_down(tokens, 8, A, F, C / 4, type)});
    }
  }
  for (const WeightType& type : {kBf16Weights, kFp8Weights, kInt4Weights, kFp8Rows, kInt4Fp8Rows}) {
    cases.insert(cases.end(), {linear(256, 512, C, false, true, type), gate_up(64, 16, A, C, 128, type), grouped_linear(64, 16, A, F, 256, type)});
  }
  cases.insert(cases.end(), {attention({{1, 1024}}, Hq, Hk, D, S, DType::kBf16), attention({{1, 8192}}, 6, 1, D, S, DType::kBf16),
                             attention(std::vector<Sequence>(16, {1, 700}), 6, 1, D, S, DType::kBf16), attention({{512, 512}}, 6, 1, D, S, DType::kBf16),
                             attention({{128, 2048}}, 6, 1, D, S, DType::kBf16), attention({{64, 8400}}, 6, 1, D, S, DType::kBf16), attention({{1, 1024}}, Hq, Hk, D, S, DType::kF8E4m3),
                             attention({{1, 8192}}, 6, 1, D, S, DType::kF8E4m3), attention({{128, 2048}}, 6, 1, D, S, DType::kF8E4m3),
                             attention({{1, 1024}}, Hq, Hk, D, S, DType::kF8E4m3, true), attention({{1, 8192}}, 6, 1, D, S, DType::kF8E4m3, true),
                             attention({{128, 2048}}, 6, 1, D, S, DType::kF8E4m3, true)});
  cases.insert(cases.end(), {set_pages(64, 3072, 64), start_histories(1, V, 1000), sample(1, V, with(1, 40, 0.95f, 0), 3, false), sample(1, V, with(0, 0, 1, 0), 3, false),
                             sample(1, V, with(1, 0, 1, 0), 3, false), sample(4, V, with(1, 40, 0.95f, 0), 3, false), score(4, V)});
  return cases;
}

}  // namespace m2::kernels
