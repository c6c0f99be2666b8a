// The weights of a model on a backend, filled from files by a plan that TypeScript made (names bound, shapes checked: lib/model/weights.ts).
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "core/ops.h"
#include "model/geometry.h"

namespace m2 {

// The order is lib/native.ts's TENSOR_KINDS.
enum class TensorKind {
  kEmbed,
  kFinalNorm,
  kLmHead,
  kInputNorm,
  kQProj,
  kKProj,
  kVProj,
  kOProj,
  kQNorm,
  kKNorm,
  kPostNorm,
  kGate,
  kRouterBias,
  kW1,
  kW3,
  kW2,
};
constexpr int kTensorKinds = 16;

struct TensorEntry {
  std::string name;
  TensorKind kind;
  int64_t layer, expert;  // -1 where there is none
  DType dtype;
  int64_t rows, cols;     // a vector is one row
  int64_t file;
  uint64_t offset;        // bytes from the start of the file
  int64_t scale_file;     // of f8: where its scales are, [ceil(rows / 128), ceil(cols / 128)] f32
  uint64_t scale_offset;

  uint64_t bytes() const { return static_cast<uint64_t>(rows) * cols * dtype_bytes(dtype); }
};

struct WeightPlan {
  std::vector<std::string> files;
  std::vector<TensorEntry> tensors;
  bool keep_fp8 = false;  // matrices that are stored as FP8 stay so, where the device takes it
  bool random = false;  // neither files nor tensors: the device makes the weights, for benches
};

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
};

using Progress = std::function<void(uint64_t done, uint64_t total)>;  // bytes of the checkpoint

ModelWeights load_weights(Backend&, const Geometry&, const WeightPlan&, const Progress&);

}  // namespace m2
