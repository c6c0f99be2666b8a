#include "model/row_state.h"

#include <algorithm>

namespace m2 {
namespace {

bool has_penalties(const SamplingOptions& o) {
  return o.repetition_penalty != 1 || o.presence_penalty != 0 || o.frequency_penalty != 0;
}

}  // namespace

RowState::RowState(Backend& ops, const Geometry& g, const Capacity& c)
    : ops_(ops), vocab_(g.vocab), pages_per_row_(c.pages_per_row()), max_sequences_(c.max_sequences), page_size_(c.page_size),
      pages_(c.max_sequences * c.pages_per_row(), -1), last_ids_(c.max_sequences, -1), histories_(c.max_sequences) {
  device_pages_ = ops.allocate(pages_.size() * sizeof(int32_t));
  ops.upload(device_pages_.data(), pages_.data(), pages_.size() * sizeof(int32_t));
}

void RowState::begin_step(Batch& b) {
  for (size_t i = 0; i < b.page_updates.size(); i += 3) {
    const int64_t at = b.page_updates[i] * pages_per_row_ + b.page_updates[i + 1];
    pages_[at] = b.page_updates[i + 2];
    ops_.upload(static_cast<int32_t*>(device_pages_.data()) + at, &pages_[at], sizeof(int32_t));
  }
  check_pages(b);
  for (int64_t s = 0; s < b.sequences(); s++)
    for (int32_t t = b.cu_seqlens_q[s]; t < b.cu_seqlens_q[s + 1]; t++)
      if (b.token_ids[t] == -1) {
        b.token_ids[t] = last_ids_[b.rows[s]];
        if (b.token_ids[t] == -1) fail("DEVICE_ERROR", "batch: tokenIds[", t, "] is -1, but nothing was sampled for row ", b.rows[s]);
      }
  restart_histories(b);
}

// Attention reads every page of a context: each must have been set.
void RowState::check_pages(const Batch& b) const {
  for (int64_t s = 0; s < b.sequences(); s++)
    for (int64_t i = 0; i * page_size_ < b.context_lens[s]; i++)
      if (pages_[b.rows[s] * pages_per_row_ + i] < 0)
        fail("DEVICE_ERROR", "batch: row ", b.rows[s], " has no page at index ", i, ", its context is ", b.context_lens[s]);
}

void RowState::restart_histories(const Batch& b) {
  for (size_t h = 0; h < b.history_rows.size(); h++) {
    History& history = histories_[b.history_rows[h]];
    history.generated_counts.assign(vocab_, 0);
    history.in_prompt.assign(vocab_, 0);
    const int32_t end = b.history_offsets[h + 1], generated = end - b.history_generated[h];
    for (int32_t i = b.history_offsets[h]; i < end; i++) {
      if (i < generated) history.in_prompt[b.history_ids[i]] = 1;
      else history.generated_counts[b.history_ids[i]]++;
    }
  }
}

void RowState::end_step(const Batch& b, const std::vector<int32_t>& ids) {
  for (int64_t n = 0; n < b.samples(); n++) {
    last_ids_[b.sample_row[n]] = std::max(ids[n], 0);
    if (ids[n] >= 0 && has_penalties(b.sampling[n])) histories_[b.sample_row[n]].generated_counts[ids[n]]++;
  }
}

View RowState::page_tables() const { return device_pages_.view(DType::kI32, {max_sequences_, pages_per_row_}); }

TokenHistory RowState::history(int32_t row, const SamplingOptions& options) const {
  if (!has_penalties(options)) return {};
  const History& history = histories_[row];
  if (history.generated_counts.empty()) fail("DEVICE_ERROR", "batch: row ", row, " has penalties but no token history");
  return {history.generated_counts.data(), history.in_prompt.data()};
}

}  // namespace m2
