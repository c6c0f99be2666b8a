// One step on its way to the device and back. What a step brings is one block of numbers and so one copy; there is a block of host memory for each step
// in flight, so the host fills the next while the device still reads the last. What every step brings lies where it lay in every other step of that
// size, since recorded ops look for it there.
#pragma once
#include <array>
#include <vector>

#include "core/ops.h"
#include "model/batch.h"
#include "model/geometry.h"

namespace m2 {

// Steps that the device has at a time: one that runs, and the next.
constexpr int kStepsInFlight = 2;

// The views of one step: T tokens, B sequences, N samples, padding included, and M scores.
struct Step {
  View token_ids, positions, slots;           // [T]; an id of -1 - r: what was last sampled for row r
  View cu_seqlens_q, context_lens, rows;      // [B + 1], [B], [B]
  View sample_at, sample_row;                 // [N]; padding has row -1
  const SamplingOptions* options = nullptr;   // [N]
  View live;                                  // [1] tokens without padding
  int64_t max_queries = 0;                    // of a sequence
  int64_t alternatives = 0;                   // most logprobs that a sample asks for
  SetPagesArgs pages;                         // their targets are the caller's
  StartHistoriesArgs histories;
  View bias_offsets, bias_ids, bias_values, mask_index, mask_bits;  // as SampleArgs has them; empty where no sample has any
  View score_at, score_ids, score_rows;       // [M], empty in most steps; all rows are 0, and nothing is written for them
  const SamplingOptions* score_options = nullptr;
  bool is_decode = false;                     // one token of each sequence: the same ops on the same views at every step of that size

  int64_t tokens() const { return token_ids.size(0); }
  int64_t samples() const { return sample_row.size(0); }
  int64_t scores() const { return score_at ? score_at.size(0) : 0; }
  bool plain_samples() const { return alternatives == 0 && !bias_offsets && !mask_index; }
};

// A block of device memory and one of host memory for each step in flight.
class StepBlock {
 public:
  StepBlock(Backend&, size_t bytes);

  // Begins another step. What the host's block of `slot` held is not needed any more; blocks grow where `bytes` do not fit.
  void begin(int slot, size_t bytes);
  // Where `values` will lie on the device.
  template <class T>
  T* put(const std::vector<T>& values) {
    return static_cast<T*>(put_bytes(values.data(), values.size() * sizeof(T)));
  }
  View ints(const std::vector<int32_t>& values) { return View::of(put(values), {static_cast<int64_t>(values.size())}); }
  View floats(const std::vector<float>& values) { return View::of(put(values), {static_cast<int64_t>(values.size())}); }
  // Sends what was put.
  void upload() { ops_.upload_later(device_.data(), host_[slot_].data(), used_); }

  void* device() const { return device_.data(); }
  void* host(int slot) const { return host_[slot].data(); }

  // What `count` values take up of a block.
  template <class T>
  static constexpr size_t bytes_of(size_t count) {
    return padded(count * sizeof(T));
  }

 private:
  static constexpr size_t padded(size_t bytes) { return (bytes + 63) / 64 * 64; }
  void* put_bytes(const void* values, size_t bytes);

  Backend& ops_;
  Buffer device_;
  std::array<Buffer, kStepsInFlight> host_;
  int slot_ = 0;
  size_t used_ = 0;
};

class StepInputs {
 public:
  StepInputs(Backend&, const Geometry&, const Capacity&);
  // Sends a batch's numbers. A decode step is padded to a size that many share: what is added belongs to no sequence, takes no part in routing and is
  // not sampled.
  Step send(const Batch&, int slot);

 private:
  void send_extras(const Batch&, int slot, Step&);

  Backend& ops_;
  int64_t vocab_words_;
  StepBlock block_;   // what every step brings; it never grows
  StepBlock extras_;  // what few steps bring
};

// What the samples of a step give (ids, logprobs and alternatives) and its scores, on the device and, a block for each step in flight, on the host.
class StepOutputs {
 public:
  StepOutputs(Backend&, const Capacity&);
  // Names the device's places in the arguments of a step's sample op.
  void place(const Step&, int slot, SampleArgs&);
  // The same for the step's scores, all of them.
  void place_scores(const Step&, int slot, SampleArgs&);
  // Has the results fetched to the host; `read` gives them once that is done. `samples`: without padding.
  void fetch(const Step&, int slot);
  StepResult read(int slot, int64_t samples, bool wants_logprobs) const;
  // The experts of a step's tokens: `count` ids, which `read_routes` gives as [layers, pairs] of the [layers, padded_pairs] that were fetched.
  void fetch_routes(const Buffer& expert_ids, int64_t count, int slot);
  std::vector<int32_t> read_routes(int slot, int64_t layers, int64_t padded_pairs, int64_t pairs) const;

 private:
  struct Sizes {
    int64_t samples, alternatives, scores;  // with padding
  };
  Backend& ops_;
  StepBlock block_;   // [N] ids, [N] logprobs; it never grows
  StepBlock top_;     // [N, K] ids, [N, K] logprobs
  StepBlock scores_;  // [M] ids, [M] logprobs
  std::array<Sizes, kStepsInFlight> fetched_{};
  std::array<Buffer, kStepsInFlight> routes_;  // where steps give them
};

}  // namespace m2
