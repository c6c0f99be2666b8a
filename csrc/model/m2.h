// MiniMax-M2 on a backend: weights, cache, rows, and the layer list.
#pragma once
#include <memory>
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

  std::string device() const { return ops_->device(); }
  std::string description() const { return ops_->description(); }
  size_t weight_bytes() const { return weights_.bytes; }
  size_t kv_bytes() const { return kv_.bytes(); }

 private:
  // The step on the device: its integers, and the activations between the operations. Carved once, for the largest step.
  struct Workspace {
    Buffer token_ids, positions, slots, cu_seqlens_q, context_lens, rows, sample_at;
    Buffer x, h, h_bf16, qkv, q, attended, expert_ids, expert_weights, offsets, source, target, act, y, last, logits;
  };
  struct Step;

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
