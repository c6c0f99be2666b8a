// MiniMax-M2 on a backend: weights, cache, rows, and the layer list.
#pragma once
#include <memory>
#include <span>
#include <string>

#include "core/ops.h"
#include "model/batch.h"
#include "model/geometry.h"
#include "model/kv_pool.h"
#include "model/row_state.h"
#include "model/weights.h"

namespace m2 {

class Model {
 public:
  Model(std::unique_ptr<Backend>, const Geometry&, const Capacity&, const WeightPlan&, const Progress&);

  StepResult forward(Batch);
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
  // The step on the device: its integers, and the activations between the operations. Carved once, for the largest step.
  struct Workspace {
    Buffer token_ids, positions, slots, cu_seqlens_q, context_lens, rows, sample_at;
    Buffer x, h, h_bf16, qkv, q, attended, expert_ids, expert_weights, offsets, source, target, act, y, last, logits;
    Buffer bias_offsets, mask_index, ids, logprobs;
  };
  struct Step;

  void check_pages(const char* call, const std::vector<int32_t>& pages, size_t bytes) const;
  void run_layers(const Step&);
  StepResult sample(const Batch&, const Step&);
  Step upload(const Batch&);

  std::unique_ptr<Backend> ops_;
  Geometry g_;
  Capacity c_;
  ModelWeights weights_;
  KvPool kv_;
  RowState rows_;
  Buffer rope_;    // [max_context, R] f32
  Buffer banned_;  // bitset over V, or empty
  Workspace w_;
};

}  // namespace m2
