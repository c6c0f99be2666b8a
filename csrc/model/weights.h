// The weights of a model on a backend, filled from files by a plan.
#pragma once
#include <functional>
#include <vector>

#include "core/ops.h"
#include "model/geometry.h"
#include "model/weight_plan.h"

namespace m2 {

struct LayerWeights {
  Buffer input_norm, q_norm, k_norm, post_norm;  // [C], [Hq D], [Hk D], [C] f32
  Weight qkv;                                    // [(Hq + 2 Hk) D, C]
  Weight o;                                      // [C, Hq D]
  Buffer gate, router_bias;                      // [E, C], [E] f32
  Weight w13;                                    // [E][2F, C], gate and up
  Weight w2;                                     // [E][C, F]
};

struct ModelWeights {
  Buffer embed;       // [V, C] bf16
  Buffer final_norm;  // [C] f32
  Weight lm_head;     // [V, C]
  std::vector<LayerWeights> layers;
  size_t bytes = 0;

  // Whether any of the layers' products takes its rows as FP8.
  bool rounds_rows() const;
};

using Progress = std::function<void(uint64_t done, uint64_t total)>;  // bytes of the checkpoint

ModelWeights load_weights(Backend&, const Geometry&, const WeightPlan&, const Progress&);

}  // namespace m2
