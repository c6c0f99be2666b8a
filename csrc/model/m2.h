// MiniMax-M2 on a backend: weights, cache, rows, and the layer list.
#pragma once
#include <deque>
#include <memory>
#include <span>
#include <string>

#include "core/ops.h"
#include "model/batch.h"
#include "model/geometry.h"
#include "model/kv_pool.h"
#include "model/row_state.h"
#include "model/step.h"
#include "model/weights.h"

namespace m2 {

class Model {
 public:
  Model(std::unique_ptr<Backend>, const Geometry&, const Capacity&, const WeightPlan&, const Progress&);

  // Hands a step to the device. At most kStepsInFlight are there at a time; they finish in the order in which they were started.
  // Throws DEVICE_ERROR for a batch that does not hold together, before anything is done.
  void start(const Batch&);
  // Whether the oldest step is done, so that `finish` does not wait.
  bool ready();
  StepResult finish();

  // [L][K|V][Hk] the largest K and V of a sequence, computed over a bf16 cache of its own: what the scales of an fp8 cache are made of. At most
  // max_context ids.
  std::vector<float> measure_kv(const std::vector<int32_t>& ids);
  // Of an fp8 cache, before the first step: steps without them are refused.
  void set_kv_scales(const std::vector<float>& scales) { kv_.set_scales(scales); }

  void copy_pages(const std::vector<int32_t>& from, const std::vector<int32_t>& to);
  // Whole pages, one after another, as the pool has them. Throws DEVICE_ERROR before anything is done for pages that are not there or bytes that do not fit.
  void read_pages(const std::vector<int32_t>& pages, std::span<uint8_t> to) const;
  void write_pages(const std::vector<int32_t>& pages, std::span<const uint8_t> from);

  std::string device() const { return ops_->device(); }
  std::string description() const { return ops_->description(); }
  size_t weight_bytes() const { return weights_.bytes; }
  size_t kv_bytes() const { return kv_.bytes(); }
  size_t page_bytes() const { return kv_.page_bytes(); }
  std::string numerics() const { return ops_->numerics(); }

 private:
  // The activations between the operations. Carved once, for the largest step.
  struct Workspace {
    Buffer x, h_f32, h_bf16, qkv, q, attended, expert_ids, expert_weights, offsets, source, target, swiglu, y, logits;
  };
  // A step that the device has.
  struct Flight {
    int slot;
    int64_t padded_tokens, tokens, samples;
    bool wants_logprobs;
    int64_t mark;
    double started_at;
  };

  void check_pages(const char* call, const std::vector<int32_t>& pages, size_t bytes) const;
  void carve_workspace();
  void run(Step&, int slot);
  void set_pages(Step&);
  void run_layers(const Step&, const KvCache&);
  View run_head(int64_t tokens, const View& at);
  void sample(const Step&, int slot);
  void score(const Step&, int slot);

  std::unique_ptr<Backend> ops_;
  Geometry g_;
  Capacity c_;
  ModelWeights weights_;
  KvPool kv_;
  RowState rows_;
  Buffer rope_;    // [max_context, R] f32
  Buffer banned_;  // bitset over V, or empty
  Workspace w_;
  StepInputs inputs_;
  StepOutputs outputs_;
  std::deque<Flight> flights_;
  int slot_ = 0;
  double last_ended_at_ = 0;
};

}  // namespace m2
