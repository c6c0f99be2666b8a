#include "model/weights.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>
#include <set>

#include "model/checkpoint_file.h"

namespace m2 {
namespace {

float element(const View& v, int64_t i) {
  switch (v.dtype) {
    case DType::kBf16: return to_f32(static_cast<const bf16*>(v.data)[i]);
    case DType::kF16: return to_f32(static_cast<const f16*>(v.data)[i]);
    default: return static_cast<const float*>(v.data)[i];
  }
}

class Loader {
 public:
  Loader(Backend& ops, const Geometry& g, const WeightPlan& plan) : ops_(ops), g_(g), filled_(static_cast<size_t>(places_per_layer() * (g.layers + 1))) {
    w_.embed = reserve(g.vocab * g.hidden * sizeof(bf16));
    w_.final_norm = reserve(g.hidden * sizeof(float));
    expect(plan.held.empty() || plan.held.size() == static_cast<size_t>(1 + 4 * g.layers), plan.held.size(), " weights are in the plan");
    auto type = [&, next = size_t{0}]() mutable { return plan.held.empty() ? WeightType{} : plan.held[next++]; };
    w_.lm_head = weight(1, g.vocab, g.hidden, WeightLayout::kRows, type());
    for (int64_t i = 0; i < g.layers; i++) {
      LayerWeights layer;
      layer.input_norm = reserve(g.hidden * sizeof(float));
      layer.q_norm = reserve(g.q_size() * sizeof(float));
      layer.k_norm = reserve(g.kv_size() * sizeof(float));
      layer.post_norm = reserve(g.hidden * sizeof(float));
      layer.qkv = weight(1, g.qkv_size(), g.hidden, WeightLayout::kRows, type());
      layer.o = weight(1, g.hidden, g.q_size(), WeightLayout::kRows, type());
      layer.gate = reserve(g.experts * g.hidden * sizeof(float));
      layer.router_bias = reserve(g.experts * sizeof(float));
      const std::vector<float> zeros(g.experts);  // a model without a routing bias has no such tensor
      ops.upload(layer.router_bias.data(), zeros.data(), zeros.size() * sizeof(float));
      layer.w13 = weight(g.experts, 2 * g.expert_hidden, g.hidden, WeightLayout::kGateUp, type());
      layer.w2 = weight(g.experts, g.hidden, g.expert_hidden, WeightLayout::kRows, type());
      w_.layers.push_back(std::move(layer));
    }
  }

  // A tensor's rows from `first` on. A tensor comes in pieces from its first row to its last.
  void fill(const TensorEntry& t, int64_t first, const View& source, const View& scales) {
    if (first == 0) take_place(t);
    const auto rows = [&](Weight& weight, int64_t expert, int64_t first_row, int64_t count) {
      expect_shape(t, count, weight.k);
      ops_.pack(weight, expert, first_row + first, {.values = source, .scales = scales});
    };
    const auto as_f32 = [&](Buffer& to, int64_t count, int64_t cols) {
      expect_shape(t, count, cols);
      std::vector<float> values(source.numel());
      for (size_t i = 0; i < values.size(); i++) values[i] = element(source, i);
      ops_.upload(static_cast<float*>(to.data()) + first * cols, values.data(), values.size() * sizeof(float));
    };
    const auto as_bf16 = [&](Buffer& to, int64_t count, int64_t cols) {
      expect_shape(t, count, cols);
      bf16* const at = static_cast<bf16*>(to.data()) + first * cols;
      if (source.dtype == DType::kBf16) return ops_.upload(at, source.data, source.numel() * sizeof(bf16));
      std::vector<bf16> values(source.numel());
      for (size_t i = 0; i < values.size(); i++) values[i] = to_bf16(element(source, i));
      ops_.upload(at, values.data(), values.size() * sizeof(bf16));
    };
    if (t.kind == TensorKind::kEmbed) return as_bf16(w_.embed, g_.vocab, g_.hidden);
    if (t.kind == TensorKind::kFinalNorm) return as_f32(w_.final_norm, 1, g_.hidden);
    if (t.kind == TensorKind::kLmHead) return rows(w_.lm_head, 0, 0, g_.vocab);
    LayerWeights& layer = w_.layers[t.layer];
    switch (t.kind) {
      case TensorKind::kInputNorm: return as_f32(layer.input_norm, 1, g_.hidden);
      case TensorKind::kQProj: return rows(layer.qkv, 0, 0, g_.q_size());
      case TensorKind::kKProj: return rows(layer.qkv, 0, g_.q_size(), g_.kv_size());
      case TensorKind::kVProj: return rows(layer.qkv, 0, g_.q_size() + g_.kv_size(), g_.kv_size());
      case TensorKind::kOProj: return rows(layer.o, 0, 0, g_.hidden);
      case TensorKind::kQNorm: return as_f32(layer.q_norm, 1, g_.q_size());
      case TensorKind::kKNorm: return as_f32(layer.k_norm, 1, g_.kv_size());
      case TensorKind::kPostNorm: return as_f32(layer.post_norm, 1, g_.hidden);
      case TensorKind::kGate: return as_f32(layer.gate, g_.experts, g_.hidden);
      case TensorKind::kRouterBias: return as_f32(layer.router_bias, 1, g_.experts);
      case TensorKind::kW1: return rows(layer.w13, t.expert, 0, g_.expert_hidden);
      case TensorKind::kW3: return rows(layer.w13, t.expert, g_.expert_hidden, g_.expert_hidden);
      case TensorKind::kW2: return rows(layer.w2, t.expert, 0, g_.hidden);
      default: fail("DEVICE_ERROR", "internal: tensor ", t.name, " is of unknown kind ", static_cast<int>(t.kind));
    }
  }

  // Weights of the size that trained ones have: activations keep theirs from layer to layer.
  ModelWeights random() {
    fill(w_.embed, DType::kBf16, 1);
    fill_ones(w_.final_norm);
    fill(w_.lm_head);
    for (LayerWeights& layer : w_.layers) {
      for (const Buffer* norm : {&layer.input_norm, &layer.q_norm, &layer.k_norm, &layer.post_norm}) fill_ones(*norm);
      fill(layer.gate, DType::kF32, scale(g_.hidden));
      for (Weight* weight : {&layer.qkv, &layer.o, &layer.w13, &layer.w2}) fill(*weight);
    }
    return std::move(w_);
  }

  // Whatever nobody filled would be read as garbage. No place is filled twice, so the count tells.
  ModelWeights finish() {
    expect(required_ == 3 + g_.layers * (9 + 3 * g_.experts), required_, " tensors of ", 3 + g_.layers * (9 + 3 * g_.experts), " are in the plan");
    return std::move(w_);
  }

 private:
  static float scale(int64_t width) { return static_cast<float>(std::sqrt(3.0 / static_cast<double>(width))); }  // a variance of 1 / width
  void fill(const Buffer& to, DType dtype, float scale) { ops_.fill_random(to.data(), dtype, static_cast<int64_t>(to.bytes() / dtype_bytes(dtype)), scale, seed_++); }
  void fill(Weight& weight) { fill(weight.data, DType::kBf16, scale(weight.k)); }
  void fill_ones(const Buffer& to) {
    const std::vector<float> ones(to.bytes() / sizeof(float), 1.0f);
    ops_.upload(to.data(), ones.data(), to.bytes());
  }
  int64_t places_per_layer() const { return kTensorKinds + 3 * g_.experts; }
  void take_place(const TensorEntry& t) {
    const bool outside = t.kind <= TensorKind::kLmHead, of_expert = t.kind >= TensorKind::kW1;
    expect(outside ? t.layer == -1 : t.layer >= 0 && t.layer < g_.layers, "tensor ", t.name, " has layer ", t.layer);
    expect(of_expert ? t.expert >= 0 && t.expert < g_.experts : t.expert == -1, "tensor ", t.name, " has expert ", t.expert);
    const int64_t kind = static_cast<int64_t>(t.kind);
    const int64_t place = of_expert ? kTensorKinds + (kind - static_cast<int64_t>(TensorKind::kW1)) * g_.experts + t.expert : kind;
    auto filled = filled_.begin() + (t.layer + 1) * places_per_layer() + place;
    expect(!*filled, "tensor ", t.name, " is planned twice");
    *filled = true;
    if (t.kind != TensorKind::kRouterBias) required_++;
  }
  Buffer reserve(size_t bytes) {
    w_.bytes += bytes;
    return ops_.allocate(bytes);
  }
  Weight weight(int64_t experts, int64_t n, int64_t k, WeightLayout layout, WeightType type) {
    Weight weight = ops_.allocate_weight(experts, n, k, layout, {.format = format});
    w_.bytes += weight.data.bytes();
    return weight;
  }
  void expect_shape(const TensorEntry& t, int64_t rows, int64_t cols) {
    if (t.rows != rows || t.cols != cols)
      fail("BAD_CHECKPOINT", "tensor ", t.name, " is [", t.rows, ", ", t.cols, "], expected [", rows, ", ", cols, "]");
  }
  Backend& ops_;
  const Geometry& g_;
  ModelWeights w_;
  std::vector<bool> filled_;
  uint64_t seed_ = 1;
  int64_t required_ = 0;  // filled places other than the optional routing bias
};

int64_t blocks_of(int64_t n) { return (n + kScaleBlock - 1) / kScaleBlock; }

constexpr int64_t kPieceBytes = 8 << 20;  // that are read and packed at a time

// Tensors of a checkpoint, one file of it open at a time.
class Source {
 public:
  explicit Source(const WeightPlan& plan) : plan_(plan) {}

  // Valid until the next call.
  View read(int64_t file, uint64_t offset, DType dtype, int64_t rows, int64_t cols, const std::string& name) {
    if (file != open_) {
      file_ = std::make_unique<CheckpointFile>(plan_.files[file]);
      open_ = file;
      wanted_ = 0;
    }
    const uint64_t bytes = static_cast<uint64_t>(rows) * cols * dtype_bytes(dtype);
    if (data_.size() < bytes) data_.resize(bytes);
    file_->read(offset, data_.data(), bytes, name);
    if (offset + bytes + kPieceBytes > wanted_) {  // the next pieces are on their way while this one is packed
      file_->want(offset + bytes, 4 * kPieceBytes);
      wanted_ = offset + bytes + 4 * kPieceBytes;
    }
    return View(data_.data(), dtype, {rows, cols});
  }

 private:
  const WeightPlan& plan_;
  std::unique_ptr<CheckpointFile> file_;
  std::vector<char> data_;
  int64_t open_ = -1;
  uint64_t wanted_ = 0;  // up to this byte of the file
};

}  // namespace

ModelWeights load_weights(Backend& ops, const Geometry& g, const WeightPlan& plan, const Progress& progress) {
  Loader loader(ops, g, plan);
  if (plan.random) return loader.random();
  std::vector<size_t> order(plan.tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const TensorEntry &x = plan.tensors[a], &y = plan.tensors[b];
    return std::pair(x.file, x.offset) < std::pair(y.file, y.offset);
  });
  const auto files = static_cast<int64_t>(plan.files.size());
  uint64_t total = 0, done = 0;
  for (const TensorEntry& t : plan.tensors) {
    const bool is_matrix = t.kind == TensorKind::kLmHead || (t.kind >= TensorKind::kQProj && t.kind <= TensorKind::kOProj) || t.kind >= TensorKind::kW1;
    expect(t.file >= 0 && t.file < files && t.rows > 0 && t.cols > 0, "tensor ", t.name, " is misplaced");
    expect(t.dtype != DType::kI32 && (t.dtype != DType::kF8E4m3 || is_matrix), "tensor ", t.name, " has a dtype that it cannot have");
    expect(t.dtype != DType::kF8E4m3 || (t.scale_file >= 0 && t.scale_file < files), "tensor ", t.name, " has misplaced scales");
    total += t.bytes();
  }
  Source weights(plan), scales(plan);  // scales may lie in another file than their weights
  for (size_t i : order) {
    const TensorEntry& t = plan.tensors[i];
    const uint64_t row_bytes = t.cols * dtype_bytes(t.dtype);
    const int64_t piece = std::max<int64_t>(1, kPieceBytes / row_bytes / kScaleBlock) * kScaleBlock;
    for (int64_t first = 0; first < t.rows; first += piece) {
      const int64_t count = std::min(piece, t.rows - first), blocks = blocks_of(t.cols);
      const View rows = weights.read(t.file, t.offset + first * row_bytes, t.dtype, count, t.cols, t.name);
      View row_scales;
      if (t.dtype == DType::kF8E4m3) {
        const uint64_t at = t.scale_offset + first / kScaleBlock * blocks * sizeof(float);
        row_scales = scales.read(t.scale_file, at, DType::kF32, blocks_of(count), blocks, t.name);
      }
      loader.fill(t, first, rows, row_scales);
      progress(done += count * row_bytes, total);
    }
  }
  return loader.finish();
}

}  // namespace m2
