// The validation in front of every op, written once for all backends. A wrong call is a bug of ours: DEVICE_ERROR with the op, the argument, what was
// expected and what was found. Shapes and dtypes are checked always; values (ids, slots, offsets, lengths) where the host can read them, since each
// becomes an address in a kernel. Calls without rows end here, so kernels never see them.
#include "core/ops.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace m2 {
namespace {

// What each query may see lies inside its page table row, and every page it names exists.
void check_contexts(const Check& check, const AttentionArgs& a) {
  const int64_t page_size = a.kv.page_size, per_row = a.page_tables.size(1);
  const int32_t *tables = a.page_tables.as<int32_t>(), *rows = a.rows.as<int32_t>(), *cu = a.cu_seqlens_q.as<int32_t>();
  const int32_t* lens = a.context_lens.as<int32_t>();
  for (int64_t b = 0; b < a.rows.size(0); b++) {
    const int64_t q_len = cu[b + 1] - cu[b];
    check.that(q_len <= a.max_queries, "sequence ", b, " must have at most max_queries = ", a.max_queries, " queries, found ", q_len);
    check.that(lens[b] >= q_len && lens[b] <= per_row * page_size, "context_lens[", b, "] must be in ", q_len, "..", per_row * page_size, ", found ", lens[b]);
    for (int64_t i = 0; i * page_size < lens[b]; i++) {
      const int32_t page = tables[rows[b] * per_row + i];
      check.that(page >= 0 && page < a.kv.pages, "page_tables[", rows[b], "][", i, "] must be in 0..", a.kv.pages - 1, ", found ", page);
    }
  }
}

void check_options(const Check& check, const SampleArgs& a) {
  const int64_t vocab = a.logits.size(1), alternatives = a.top_ids ? a.top_ids.size(1) : 0;
  for (int64_t n = 0; n < a.logits.size(0); n++) {
    if (a.rows.as<int32_t>()[n] < 0) continue;
    const SamplingOptions& o = a.options[n];
    check.that(o.temperature >= 0 && std::isfinite(o.temperature), "options[", n, "].temperature must be 0 or more, found ", o.temperature);
    check.that(o.top_p >= 0 && o.top_p <= 1, "options[", n, "].top_p must be in 0..1, found ", o.top_p);
    check.that(o.min_p >= 0 && o.min_p <= 1, "options[", n, "].min_p must be in 0..1, found ", o.min_p);
    check.that(o.repetition_penalty > 0 && std::isfinite(o.repetition_penalty), "options[", n, "].repetition_penalty must be above 0, found ",
               o.repetition_penalty);
    check.that(std::isfinite(o.presence_penalty) && std::isfinite(o.frequency_penalty), "options[", n, "]: presence and frequency penalty must be finite");
    check.that(o.top_k >= 0, "options[", n, "].top_k must be 0 or more, found ", o.top_k);
    const int64_t most = a.logprobs ? std::min(alternatives, vocab) : -1;
    check.that(o.logprobs >= -1 && o.logprobs <= most, "options[", n, "].logprobs must be in -1..", most, ", found ", o.logprobs);
    check.that(a.history || !o.has_penalties(), "options[", n, "] has penalties, history must be given, found none");
  }
}

}  // namespace

void Backend::embed(const EmbedArgs& a) {
  const Check check("embed", host_memory());
  check.rank(a.token_ids, "token_ids", DType::kI32, 1);
  check.rank(a.table, "table", DType::kBf16, 2);
  check.multiple_of_step(a.table.size(1), "width of table");
  check.view(a.out, "out", DType::kF32, {a.token_ids.size(0), a.table.size(1)});
  if (a.last_ids.rank) {
    check.rank(a.last_ids, "last_ids", DType::kI32, 1);
    check.values(a.last_ids, "last_ids", 0, a.table.size(0) - 1);
  }
  check.values(a.token_ids, "token_ids", a.last_ids.rank ? -a.last_ids.size(0) : 0, a.table.size(0) - 1);
  if (a.out.numel() > 0) do_embed(a);
}

void Backend::rms_norm(const RmsNormArgs& a) {
  const Check check("rms_norm", host_memory());
  check.rank(a.x, "x", DType::kF32, 2);
  const int64_t width = a.x.size(1);
  int64_t rows = a.x.size(0);
  check.multiple_of_step(width, "width of x");
  if (a.rows.rank) {
    check.rank(a.rows, "rows", DType::kI32, 1);
    check.values(a.rows, "rows", 0, rows - 1);
    rows = a.rows.size(0);
  }
  check.view(a.weight, "weight", DType::kF32, {width});
  check.that(a.eps >= 0, "eps must be 0 or more, found ", a.eps);
  check.view(a.out, "out", a.out.dtype == DType::kBf16 ? DType::kBf16 : DType::kF32, {rows, width});
  check.that(!a.out_bf16 || a.out.dtype == DType::kF32, "out must be f32 where there is out_bf16, found bf16");
  if (a.out_bf16) check.view(a.out_bf16, "out_bf16", DType::kBf16, {rows, width});
  if (a.out.numel() > 0) do_rms_norm(a);
}

void Backend::linear(const LinearArgs& a) {
  const Check check("linear", host_memory());
  const DType out = a.out.dtype == activations() && !a.accumulate ? activations() : DType::kF32;
  check.rank(a.x, "x", activations(), 2);
  check.rank(a.out, "out", out, 2);
  check.weight(a.weight, WeightLayout::kRows, 1, a.out.size(1), a.x.size(1));
  check.view(a.out, "out", out, {a.x.size(0), a.weight->n});
  if (a.out.numel() > 0) do_linear(a);
}

void Backend::qk_norm_rope_store(const QkNormRopeStoreArgs& a) {
  const Check check("qk_norm_rope_store", host_memory());
  check.rank(a.q, "q", activations(), 3);
  check.rank(a.rope, "rope", DType::kF32, 2);
  const int64_t tokens = a.q.size(0), heads = a.q.size(1), dim = a.q.size(2), rotary = a.rope.size(1);
  check.kv(a.kv, a.layer, dim);
  check.at_least(heads, "query heads", 1);
  check.view(a.qkv, "qkv", activations(), {tokens, (heads + 2 * a.kv.heads) * dim});
  check.view(a.q_weight, "q_weight", DType::kF32, {heads * dim});
  check.view(a.k_weight, "k_weight", DType::kF32, {a.kv.heads * dim});
  check.that(a.eps >= 0, "eps must be 0 or more, found ", a.eps);
  check.that(rotary <= dim && rotary % 2 == 0, "rope must have an even number of at most ", dim, " columns, found ", rotary);
  check.view(a.positions, "positions", DType::kI32, {tokens});
  check.values(a.positions, "positions", 0, a.rope.size(0) - 1);
  check.view(a.slot_mapping, "slot_mapping", DType::kI32, {tokens});
  check.values(a.slot_mapping, "slot_mapping", -1, a.kv.pages * a.kv.page_size - 1);
  if (tokens > 0) do_qk_norm_rope_store(a);
}

void Backend::attention(const AttentionArgs& a) {
  const Check check("attention", host_memory());
  check.rank(a.q, "q", activations(), 3);
  const int64_t tokens = a.q.size(0), heads = a.q.size(1), dim = a.q.size(2);
  check.kv(a.kv, a.layer, dim);
  check.that(heads > 0 && heads % a.kv.heads == 0, "q must have a multiple of ", a.kv.heads, " heads, found ", heads);
  check.rank(a.page_tables, "page_tables", DType::kI32, 2);
  check.rank(a.rows, "rows", DType::kI32, 1);
  check.values(a.rows, "rows", 0, a.page_tables.size(0) - 1);
  const int64_t sequences = a.rows.size(0);
  check.view(a.cu_seqlens_q, "cu_seqlens_q", DType::kI32, {sequences + 1});
  check.prefix_sums(a.cu_seqlens_q, "cu_seqlens_q", tokens);
  check.view(a.context_lens, "context_lens", DType::kI32, {sequences});
  if (check.reads_values()) check_contexts(check, a);
  check.that(std::isfinite(a.scale), "scale must be finite, found ", a.scale);
  check.that(!a.rounds || a.kv.dtype == DType::kF8E4m3, "kv must be f8_e4m3 where q is rounded, found ", dtype_name(a.kv.dtype));
  check.in_range(a.max_queries, "max_queries", 0, tokens);
  check.view(a.out, "out", activations(), {tokens, heads * dim});
  if (tokens > 0) do_attention(a);
}

void Backend::route(const RouteArgs& a) {
  const Check check("route", host_memory());
  check.rank(a.x, "x", DType::kF32, 2);
  check.rank(a.gate, "gate", DType::kF32, 2);
  check.rank(a.expert_ids, "expert_ids", DType::kI32, 2);
  const int64_t tokens = a.x.size(0), experts = a.gate.size(0), active = a.expert_ids.size(1);
  check.multiple_of_step(a.x.size(1), "width of x");
  check.view(a.norm, "norm", DType::kF32, {a.x.size(1)});
  check.that(a.eps >= 0, "eps must be 0 or more, found ", a.eps);
  check.view(a.gate, "gate", DType::kF32, {experts, a.x.size(1)});
  check.view(a.bias, "bias", DType::kF32, {experts});
  check.in_range(active, "experts per token", 1, experts);
  check.view(a.room, "room", DType::kF32, {tokens, a.x.size(1)});
  check.view(a.h, "h", DType::kBf16, {tokens, a.x.size(1)});
  check.view(a.expert_ids, "expert_ids", DType::kI32, {tokens, active});
  check.view(a.weights, "weights", DType::kF32, {tokens, active});
  check.view(a.offsets, "offsets", DType::kI32, {experts + 1});
  check.view(a.source, "source", DType::kI32, {tokens * active});
  check.view(a.target, "target", DType::kI32, {tokens, active});
  if (a.live) {
    check.view(a.live, "live", DType::kI32, {1});
    check.values(a.live, "live", 0, tokens);
  }
  if (tokens > 0) do_route(a);
}

void Backend::grouped_gate_up(const GroupedGateUpArgs& a) {
  const Check check("grouped_gate_up", host_memory());
  check.rank(a.x, "x", DType::kBf16, 2);
  check.rank(a.source, "source", DType::kI32, 1);
  check.rank(a.offsets, "offsets", DType::kI32, 1);
  check.rank(a.out, "out", DType::kBf16, 2);
  const int64_t tokens = a.x.size(0), rows = a.source.size(0);
  check.weight(a.weight, WeightLayout::kGateUp, a.offsets.size(0) - 1, 2 * a.out.size(1), a.x.size(1));
  check.that(tokens > 0 ? rows % tokens == 0 : rows == 0, "source must have a multiple of ", tokens, " rows, found ", rows);
  check.view(a.out, "out", DType::kBf16, {rows, a.weight->n / 2});
  check.prefix_sums(a.offsets, "offsets", rows);
  if (check.reads_values()) check.values(a.source, "source", 0, rows - 1, a.offsets.as<int32_t>()[a.offsets.size(0) - 1]);
  if (rows > 0) do_grouped_gate_up(a);
}

void Backend::grouped_linear(const GroupedLinearArgs& a) {
  const Check check("grouped_linear", host_memory());
  check.rank(a.x, "x", DType::kBf16, 2);
  check.rank(a.offsets, "offsets", DType::kI32, 1);
  check.rank(a.out, "out", activations(), 2);
  const int64_t rows = a.x.size(0);
  check.weight(a.weight, WeightLayout::kRows, a.offsets.size(0) - 1, a.out.size(1), a.x.size(1));
  check.view(a.out, "out", activations(), {rows, a.weight->n});
  check.prefix_sums(a.offsets, "offsets", rows);
  if (rows > 0) do_grouped_linear(a);
}

void Backend::unpermute(const UnpermuteArgs& a) {
  const Check check("unpermute", host_memory());
  check.rank(a.y, "y", activations(), 2);
  check.rank(a.target, "target", DType::kI32, 2);
  const int64_t tokens = a.target.size(0), active = a.target.size(1), width = a.y.size(1);
  check.multiple_of_step(width, "width of y");
  check.view(a.y, "y", activations(), {tokens * active, width});
  check.values(a.target, "target", -1, tokens * active - 1);
  check.view(a.weights, "weights", DType::kF32, {tokens, active});
  check.view(a.out, "out", DType::kF32, {tokens, width});
  if (a.out.numel() > 0) do_unpermute(a);
}

void Backend::experts_down(const ExpertsDownArgs& a) {
  const Check check("experts_down", host_memory());
  check.rank(a.x, "x", DType::kBf16, 2);
  check.rank(a.offsets, "offsets", DType::kI32, 1);
  check.rank(a.y, "y", activations(), 2);
  check.rank(a.target, "target", DType::kI32, 2);
  const int64_t rows = a.x.size(0), tokens = a.target.size(0), active = a.target.size(1), width = a.y.size(1);
  check.multiple_of_step(width, "width of y");
  check.weight(a.weight, WeightLayout::kRows, a.offsets.size(0) - 1, width, a.x.size(1));
  check.that(rows == tokens * active, "x must have ", tokens * active, " rows, found ", rows);
  check.prefix_sums(a.offsets, "offsets", rows);
  check.view(a.y, "y", activations(), {rows, width});
  check.values(a.target, "target", -1, rows - 1);
  check.view(a.weights, "weights", DType::kF32, {tokens, active});
  check.view(a.out, "out", DType::kF32, {tokens, width});
  if (rows > 0) do_experts_down(a);
}

void Backend::set_pages(const SetPagesArgs& a) {
  const Check check("set_pages", host_memory());
  check.rank(a.updates, "updates", DType::kI32, 2);
  check.view(a.updates, "updates", DType::kI32, {a.updates.size(0), 3});
  check.rank(a.page_tables, "page_tables", DType::kI32, 2);
  check.view(a.page_tables, "page_tables", DType::kI32, {a.page_tables.size(0), a.page_tables.size(1)});
  if (check.reads_values()) {
    for (int64_t u = 0; u < a.updates.size(0); u++) {
      check.in_range(a.updates.as<int32_t>()[3 * u], "row of an update", 0, a.page_tables.size(0) - 1);
      check.in_range(a.updates.as<int32_t>()[3 * u + 1], "index of an update", 0, a.page_tables.size(1) - 1);
    }
  }
  if (a.updates.numel() > 0) do_set_pages(a);
}

void Backend::start_histories(const StartHistoriesArgs& a) {
  const Check check("start_histories", host_memory());
  check.rank(a.rows, "rows", DType::kI32, 1);
  check.rank(a.ids, "ids", DType::kI32, 1);
  check.rank(a.history, "history", DType::kI32, 2);
  const int64_t count = a.rows.size(0);
  check.view(a.offsets, "offsets", DType::kI32, {count + 1});
  check.view(a.generated, "generated", DType::kI32, {count});
  check.view(a.history, "history", DType::kI32, {a.history.size(0), a.history.size(1)});
  check.values(a.rows, "rows", 0, a.history.size(0) - 1);
  check.values(a.ids, "ids", 0, a.history.size(1) - 1);
  check.prefix_sums(a.offsets, "offsets", a.ids.size(0));
  if (check.reads_values()) {
    const int32_t *offsets = a.offsets.as<int32_t>(), *generated = a.generated.as<int32_t>();
    for (int64_t h = 0; h < count; h++) check.in_range(generated[h], "generated", 0, offsets[h + 1] - offsets[h]);
  }
  if (count > 0) do_start_histories(a);
}

void Backend::sample(const SampleArgs& a) {
  const Check check("sample", host_memory());
  check.rank(a.logits, "logits", DType::kF32, 2);
  const int64_t rows = a.logits.size(0), vocab = a.logits.size(1);
  if (rows == 0) return;
  check.at_least(vocab, "vocabulary", 1);
  if (a.banned) check.view(a.banned, "banned", DType::kI32, {(vocab + 31) / 32});
  check.that(a.options, "options must be given for every row, found a null pointer");
  check.rank(a.last_ids, "last_ids", DType::kI32, 1);
  check.view(a.rows, "rows", DType::kI32, {rows});
  check.values(a.rows, "rows", -1, a.last_ids.size(0) - 1);
  if (a.history) check.view(a.history, "history", DType::kI32, {a.last_ids.size(0), vocab});
  if (a.bias_offsets) {
    check.view(a.bias_offsets, "bias_offsets", DType::kI32, {rows + 1});
    check.rank(a.bias_ids, "bias_ids", DType::kI32, 1);
    check.view(a.bias_values, "bias_values", DType::kF32, {a.bias_ids.size(0)});
    check.prefix_sums(a.bias_offsets, "bias_offsets", a.bias_ids.size(0));
    check.values(a.bias_ids, "bias_ids", 0, vocab - 1);
  }
  if (a.mask_index) {
    check.view(a.mask_index, "mask_index", DType::kI32, {rows});
    check.rank(a.mask_bits, "mask_bits", DType::kI32, 2);
    check.view(a.mask_bits, "mask_bits", DType::kI32, {a.mask_bits.size(0), (vocab + 31) / 32});
    check.values(a.mask_index, "mask_index", -1, a.mask_bits.size(0) - 1);
  }
  if (a.targets) {
    check.view(a.targets, "targets", DType::kI32, {rows});
    check.values(a.targets, "targets", 0, vocab - 1);
  }
  check.view(a.ids, "ids", DType::kI32, {rows});
  if (a.logprobs) check.view(a.logprobs, "logprobs", DType::kF32, {rows});
  if (a.top_ids) {
    check.rank(a.top_ids, "top_ids", DType::kI32, 2);
    check.view(a.top_ids, "top_ids", DType::kI32, {rows, a.top_ids.size(1)});
    check.view(a.top_logprobs, "top_logprobs", DType::kF32, {rows, a.top_ids.size(1)});
  }
  if (check.reads_values()) check_options(check, a);
  do_sample(a);
}

}  // namespace m2
