// The step record as it came through the door (lib/native.ts has the shapes), and what a step gives back.
#pragma once
#include <cstdint>
#include <vector>

#include "core/ops.h"
#include "model/geometry.h"

namespace m2 {

struct Batch {
  std::vector<int32_t> token_ids, positions, slot_mapping;   // [T]
  std::vector<int32_t> cu_seqlens_q;                         // [B + 1]
  std::vector<int32_t> context_lens, rows;                   // [B]
  std::vector<int32_t> page_updates;                         // [3 U] (row, index, page)
  std::vector<int32_t> sample_at, sample_row;                // [N]
  std::vector<SamplingOptions> sampling;                     // [N]
  std::vector<int32_t> bias_offsets, bias_ids;               // [N + 1] or [0]
  std::vector<float> bias_values;
  std::vector<int32_t> mask_samples, mask_bits;              // [M], [M * ceil(V/32)]
  std::vector<int32_t> history_rows, history_offsets, history_generated, history_ids;  // [H], [H + 1] or [0], [H]
  std::vector<int32_t> score_at, score_ids;                  // [M]

  int64_t tokens() const { return static_cast<int64_t>(token_ids.size()); }
  int64_t sequences() const { return static_cast<int64_t>(rows.size()); }
  int64_t samples() const { return static_cast<int64_t>(sample_at.size()); }
  int64_t scores() const { return static_cast<int64_t>(score_at.size()); }
};

// Throws DEVICE_ERROR where the record does not hold together or reaches outside the model: the engine broke its promise, memory stays whole.
void check(const Batch&, const Geometry&, const Capacity&);

struct StepResult {
  std::vector<int32_t> ids;            // [N]; -1: the row's logits were not finite; -2: its mask allows no id
  std::vector<float> logprobs;         // [N] or empty
  std::vector<int32_t> top_ids;        // [N, K] or empty
  std::vector<float> top_logprobs;     // [N, K] or empty
  std::vector<float> scores;           // [M]; NaN: the logits were not finite
  std::vector<int32_t> routes;         // [L, T, A] or empty: the experts of each token in each layer, best first
  double started_at = 0, ended_at = 0; // microseconds of the steady clock
};

}  // namespace m2
