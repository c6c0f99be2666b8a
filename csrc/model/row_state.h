// What a row of the persistent batch keeps between steps, on the device: its page table, the id last sampled for it, and its token history. The host
// keeps what it needs to refuse a step that counts on something that is not there.
#pragma once
#include <vector>

#include "core/ops.h"
#include "model/batch.h"
#include "model/geometry.h"

namespace m2 {

class RowState {
 public:
  RowState(Backend&, const Geometry&, const Capacity&);

  // Notes what the step sets. Throws DEVICE_ERROR for a step that reads a page, id or history that nobody has set.
  void plan(const Batch&);
  // The token ids of a batch, with -1 - row in the place of -1.
  static std::vector<int32_t> token_ids(const Batch&);

  View page_tables() const;  // [R, pages per row] i32
  View last_ids() const;     // [R] i32
  View history() const;      // [R, V] i32

 private:
  void check_pages(const Batch&) const;
  void check_ids(const Batch&) const;
  void check_histories(const Batch&) const;

  int64_t vocab_, pages_per_row_, rows_, page_size_;
  Buffer page_tables_, last_ids_, history_;
  std::vector<bool> has_page_;              // [R, pages per row]
  std::vector<int64_t> pages_;              // [R] of a row from its first on, without a gap
  std::vector<bool> has_id_, has_history_;  // [R]
};

}  // namespace m2
