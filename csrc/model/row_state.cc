#include "model/row_state.h"

namespace m2 {

RowState::RowState(Backend& ops, const Geometry& g, const Capacity& c)
    : vocab_(g.vocab), pages_per_row_(c.pages_per_row()), rows_(c.max_sequences), page_size_(c.page_size),
      page_tables_(ops.allocate(rows_ * pages_per_row_ * sizeof(int32_t))), last_ids_(ops.allocate(rows_ * sizeof(int32_t))),
      history_(ops.allocate(rows_ * vocab_ * sizeof(int32_t))), has_page_(rows_ * pages_per_row_), pages_(rows_), has_id_(rows_), has_history_(rows_) {
  const std::vector<int32_t> zeros(rows_);
  ops.upload(last_ids_.data(), zeros.data(), zeros.size() * sizeof(int32_t));
}

void RowState::plan(const Batch& b) {
  for (size_t i = 0; i < b.page_updates.size(); i += 3) {
    const int64_t row = b.page_updates[i], first = row * pages_per_row_;
    has_page_[first + b.page_updates[i + 1]] = true;
    while (pages_[row] < pages_per_row_ && has_page_[first + pages_[row]]) pages_[row]++;
  }
  for (int32_t row : b.history_rows) has_history_[row] = true;
  check_pages(b);
  check_ids(b);
  check_histories(b);
  for (int32_t row : b.sample_row) has_id_[row] = true;
}

// Attention reads every page of a context: each must have been set.
void RowState::check_pages(const Batch& b) const {
  for (int64_t s = 0; s < b.sequences(); s++) {
    const int64_t pages = pages_[b.rows[s]];
    if (pages * page_size_ < b.context_lens[s])
      fail("DEVICE_ERROR", "batch: row ", b.rows[s], " has no page at index ", pages, ", its context is ", b.context_lens[s]);
  }
}

void RowState::check_ids(const Batch& b) const {
  for (int64_t s = 0; s < b.sequences(); s++)
    for (int32_t t = b.cu_seqlens_q[s]; t < b.cu_seqlens_q[s + 1]; t++)
      if (b.token_ids[t] == -1 && !has_id_[b.rows[s]])
        fail("DEVICE_ERROR", "batch: tokenIds[", t, "] is -1, but nothing was sampled for row ", b.rows[s]);
}

void RowState::check_histories(const Batch& b) const {
  for (int64_t n = 0; n < b.samples(); n++)
    if (b.sampling[n].has_penalties() && !has_history_[b.sample_row[n]])
      fail("DEVICE_ERROR", "batch: row ", b.sample_row[n], " has penalties but no token history");
}

std::vector<int32_t> RowState::token_ids(const Batch& b) {
  std::vector<int32_t> ids = b.token_ids;
  for (int64_t s = 0; s < b.sequences(); s++)
    for (int32_t t = b.cu_seqlens_q[s]; t < b.cu_seqlens_q[s + 1]; t++)
      if (ids[t] == -1) ids[t] = -1 - b.rows[s];
  return ids;
}

View RowState::page_tables() const { return page_tables_.view(DType::kI32, {rows_, pages_per_row_}); }
View RowState::last_ids() const { return last_ids_.view(DType::kI32, {rows_}); }
View RowState::history() const { return history_.view(DType::kI32, {rows_, vocab_}); }

}  // namespace m2
