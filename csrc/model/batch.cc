#include "model/batch.h"

namespace m2 {
namespace {

void within(const char* name, const std::vector<int32_t>& values, int64_t least, int64_t end) {
  for (size_t i = 0; i < values.size(); i++)
    if (values[i] < least || values[i] >= end)
      fail("DEVICE_ERROR", "batch: ", name, "[", i, "] is ", values[i], ", expected ", least, " to ", end - 1);
}

void sized(const char* name, size_t size, int64_t expected) {
  if (static_cast<int64_t>(size) != expected) fail("DEVICE_ERROR", "batch: ", name, " has ", size, " values, expected ", expected);
}

void at_most(const char* name, int64_t value, int64_t most) {
  if (value > most) fail("DEVICE_ERROR", "batch: ", value, " ", name, ", expected at most ", most);
}

// values[0] = 0 <= ... <= values[n] = end, with steps of at least `step`
void prefix_sums(const char* name, const std::vector<int32_t>& values, int64_t end, int32_t step) {
  if (values.front() != 0 || values.back() != end) fail("DEVICE_ERROR", "batch: ", name, " must run from 0 to ", end);
  for (size_t i = 1; i < values.size(); i++)
    if (values[i] - values[i - 1] < step) fail("DEVICE_ERROR", "batch: ", name, "[", i, "] is ", values[i], " after ", values[i - 1]);
}

}  // namespace

void check(const Batch& b, const Geometry& g, const Capacity& c) {
  const int64_t T = b.tokens(), B = b.sequences(), N = b.samples();
  if (T < 1 || B < 1) fail("DEVICE_ERROR", "batch: ", T, " tokens of ", B, " sequences, expected at least one of each");
  at_most("tokens", T, c.max_step_tokens);
  at_most("sequences", B, c.max_sequences);
  at_most("samples", N, c.max_sequences);
  sized("positions", b.positions.size(), T);
  sized("slotMapping", b.slot_mapping.size(), T);
  sized("cuSeqlensQ", b.cu_seqlens_q.size(), B + 1);
  sized("contextLens", b.context_lens.size(), B);
  sized("sampleRow", b.sample_row.size(), N);
  sized("sampling", b.sampling.size(), N);
  sized("pageUpdates", b.page_updates.size() % 3, 0);

  within("tokenIds", b.token_ids, -1, g.vocab);
  within("positions", b.positions, 0, c.max_context);
  within("slotMapping", b.slot_mapping, -1, c.pages * c.page_size);
  within("rows", b.rows, 0, c.max_sequences);
  within("contextLens", b.context_lens, 1, c.max_context + 1);
  within("sampleAt", b.sample_at, 0, T);
  within("sampleRow", b.sample_row, 0, c.max_sequences);
  prefix_sums("cuSeqlensQ", b.cu_seqlens_q, T, 1);
  for (int64_t i = 0; i < B; i++) {
    const int32_t length = b.cu_seqlens_q[i + 1] - b.cu_seqlens_q[i];
    if (length > b.context_lens[i]) fail("DEVICE_ERROR", "batch: sequence ", i, " brings ", length, " tokens to a context of ", b.context_lens[i]);
  }
  for (size_t i = 0; i < b.page_updates.size(); i += 3) {
    const int32_t row = b.page_updates[i], index = b.page_updates[i + 1], page = b.page_updates[i + 2];
    if (row < 0 || row >= c.max_sequences || index < 0 || index >= c.pages_per_row() || page < 0 || page >= c.pages)
      fail("DEVICE_ERROR", "batch: page update (row ", row, ", index ", index, ", page ", page, ") is out of range");
  }
  for (const SamplingOptions& options : b.sampling)
    if (options.logprobs > g.vocab) fail("DEVICE_ERROR", "batch: logprobs is ", options.logprobs, ", expected at most ", g.vocab);

  if (!b.bias_offsets.empty()) {
    sized("biasOffsets", b.bias_offsets.size(), N + 1);
    prefix_sums("biasOffsets", b.bias_offsets, static_cast<int64_t>(b.bias_ids.size()), 0);
  }
  sized("biasValues", b.bias_values.size(), static_cast<int64_t>(b.bias_ids.size()));
  within("biasIds", b.bias_ids, 0, g.vocab);

  within("maskSamples", b.mask_samples, 0, N);
  for (size_t m = 1; m < b.mask_samples.size(); m++)
    if (b.mask_samples[m] <= b.mask_samples[m - 1]) fail("DEVICE_ERROR", "batch: maskSamples[", m, "] is ", b.mask_samples[m], " after ", b.mask_samples[m - 1]);
  sized("maskBits", b.mask_bits.size(), static_cast<int64_t>(b.mask_samples.size()) * g.vocab_words());

  at_most("scores", b.scores(), c.max_step_tokens);
  within("scoreAt", b.score_at, 0, T);
  sized("scoreIds", b.score_ids.size(), b.scores());
  within("scoreIds", b.score_ids, 0, g.vocab);

  const int64_t H = static_cast<int64_t>(b.history_rows.size());
  within("historyRows", b.history_rows, 0, c.max_sequences);
  within("historyIds", b.history_ids, 0, g.vocab);
  sized("historyGenerated", b.history_generated.size(), H);
  if (H > 0) {
    sized("historyOffsets", b.history_offsets.size(), H + 1);
    prefix_sums("historyOffsets", b.history_offsets, static_cast<int64_t>(b.history_ids.size()), 0);
    for (int64_t i = 0; i < H; i++)
      if (b.history_generated[i] < 0 || b.history_generated[i] > b.history_offsets[i + 1] - b.history_offsets[i])
        fail("DEVICE_ERROR", "batch: historyGenerated[", i, "] is ", b.history_generated[i]);
  }
}

}  // namespace m2
