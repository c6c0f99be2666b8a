// What a row of the persistent batch keeps between steps: its page table, the id last sampled for it, and its token history when it has penalties.
#pragma once
#include <vector>

#include "core/ops.h"
#include "model/batch.h"
#include "model/geometry.h"

namespace m2 {

class RowState {
 public:
  RowState(Backend&, const Geometry&, const Capacity&);

  // Applies page updates and new histories, and puts the last sampled ids in the place of -1.
  void begin_step(Batch&);
  // Keeps the sampled ids and counts them. A row without one (an id below 0) goes on with id 0 and counts nothing: the step planned ahead for it must run,
  // though nobody wants its result.
  void end_step(const Batch&, const std::vector<int32_t>& ids);

  View page_tables() const;  // [max_sequences, pages_per_row] i32 on the device
  TokenHistory history(int32_t row, const SamplingOptions&) const;

 private:
  struct History {
    std::vector<int32_t> generated_counts;  // [V], or empty: the row has no penalties
    std::vector<uint8_t> in_prompt;         // [V]
  };
  void check_pages(const Batch&) const;
  void restart_histories(const Batch&);

  Backend& ops_;
  int64_t vocab_, pages_per_row_, max_sequences_, page_size_;
  std::vector<int32_t> pages_;     // host mirror of the page tables; -1: never set
  Buffer device_pages_;
  std::vector<int32_t> last_ids_;  // [max_sequences]; -1: nothing sampled yet
  std::vector<History> histories_;
};

}  // namespace m2
