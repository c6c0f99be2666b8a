#include "model/weights.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>

#include "model/mapped_file.h"

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
  Loader(Backend& ops, const Geometry& g) : ops_(ops), g_(g), filled_(static_cast<size_t>(places_per_layer() * (g.layers + 1))) {
    w_.embed = reserve(g.vocab * g.hidden * sizeof(bf16));
    w_.final_norm = reserve(g.hidden * sizeof(float));
    w_.lm_head = weight(1, g.vocab, g.hidden, WeightLayout::kRows);
    for (int64_t i = 0; i < g.layers; i++) {
      LayerWeights layer;
      layer.input_norm = reserve(g.hidden * sizeof(float));
      layer.q_norm = reserve(g.q_size() * sizeof(float));
      layer.k_norm = reserve(g.kv_size() * sizeof(float));
      layer.post_norm = reserve(g.hidden * sizeof(float));
      layer.qkv = weight(1, g.qkv_size(), g.hidden, WeightLayout::kRows);
      layer.o = weight(1, g.hidden, g.q_size(), WeightLayout::kRows);
      layer.gate = reserve(g.experts * g.hidden * sizeof(float));
      layer.router_bias = reserve(g.experts * sizeof(float));
      const std::vector<float> zeros(g.experts);  // a model without a routing bias has no such tensor
      ops.upload(layer.router_bias.data(), zeros.data(), zeros.size() * sizeof(float));
      layer.w13 = weight(g.experts, 2 * g.expert_hidden, g.hidden, WeightLayout::kGateUp);
      layer.w2 = weight(g.experts, g.hidden, g.expert_hidden, WeightLayout::kRows);
      w_.layers.push_back(std::move(layer));
    }
  }

  void fill(const TensorEntry& t, const View& source) {
    take_place(t);
    if (t.kind == TensorKind::kEmbed) return as_bf16(t, source, w_.embed, g_.vocab, g_.hidden);
    if (t.kind == TensorKind::kFinalNorm) return as_f32(t, source, w_.final_norm, 1, g_.hidden);
    if (t.kind == TensorKind::kLmHead) return rows(t, source, w_.lm_head, 0, 0, g_.vocab);
    LayerWeights& layer = w_.layers[t.layer];
    switch (t.kind) {
      case TensorKind::kInputNorm: return as_f32(t, source, layer.input_norm, 1, g_.hidden);
      case TensorKind::kQProj: return rows(t, source, layer.qkv, 0, 0, g_.q_size());
      case TensorKind::kKProj: return rows(t, source, layer.qkv, 0, g_.q_size(), g_.kv_size());
      case TensorKind::kVProj: return rows(t, source, layer.qkv, 0, g_.q_size() + g_.kv_size(), g_.kv_size());
      case TensorKind::kOProj: return rows(t, source, layer.o, 0, 0, g_.hidden);
      case TensorKind::kQNorm: return as_f32(t, source, layer.q_norm, 1, g_.q_size());
      case TensorKind::kKNorm: return as_f32(t, source, layer.k_norm, 1, g_.kv_size());
      case TensorKind::kPostNorm: return as_f32(t, source, layer.post_norm, 1, g_.hidden);
      case TensorKind::kGate: return as_f32(t, source, layer.gate, g_.experts, g_.hidden);
      case TensorKind::kRouterBias: return as_f32(t, source, layer.router_bias, 1, g_.experts);
      case TensorKind::kW1: return rows(t, source, layer.w13, t.expert, 0, g_.expert_hidden);
      case TensorKind::kW3: return rows(t, source, layer.w13, t.expert, g_.expert_hidden, g_.expert_hidden);
      case TensorKind::kW2: return rows(t, source, layer.w2, t.expert, 0, g_.hidden);
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
  Weight weight(int64_t experts, int64_t n, int64_t k, WeightLayout layout) {
    Weight weight = ops_.allocate_weight(experts, n, k, layout);
    w_.bytes += weight.data.bytes();
    return weight;
  }
  void expect_shape(const TensorEntry& t, int64_t rows, int64_t cols) {
    if (t.rows != rows || t.cols != cols)
      fail("BAD_CHECKPOINT", "tensor ", t.name, " is [", t.rows, ", ", t.cols, "], expected [", rows, ", ", cols, "]");
  }
  void rows(const TensorEntry& t, const View& source, Weight& weight, int64_t expert, int64_t first_row, int64_t count) {
    expect_shape(t, count, weight.k);
    ops_.pack(weight, expert, first_row, source);
  }
  void as_f32(const TensorEntry& t, const View& source, Buffer& to, int64_t rows, int64_t cols) {
    expect_shape(t, rows, cols);
    std::vector<float> values(source.numel());
    for (size_t i = 0; i < values.size(); i++) values[i] = element(source, i);
    ops_.upload(to.data(), values.data(), values.size() * sizeof(float));
  }
  void as_bf16(const TensorEntry& t, const View& source, Buffer& to, int64_t rows, int64_t cols) {
    expect_shape(t, rows, cols);
    if (source.dtype == DType::kBf16) return ops_.upload(to.data(), source.data, source.numel() * sizeof(bf16));
    std::vector<bf16> values(source.numel());
    for (size_t i = 0; i < values.size(); i++) values[i] = to_bf16(element(source, i));
    ops_.upload(to.data(), values.data(), values.size() * sizeof(bf16));
  }

  Backend& ops_;
  const Geometry& g_;
  ModelWeights w_;
  std::vector<bool> filled_;
  uint64_t seed_ = 1;
  int64_t required_ = 0;  // filled places other than the optional routing bias
};

}  // namespace

ModelWeights load_weights(Backend& ops, const Geometry& g, const WeightPlan& plan, const Progress& progress) {
  Loader loader(ops, g);
  if (plan.random) return loader.random();
  std::vector<size_t> order(plan.tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const TensorEntry &x = plan.tensors[a], &y = plan.tensors[b];
    return std::pair(x.file, x.offset) < std::pair(y.file, y.offset);
  });
  uint64_t total = 0, done = 0;
  for (const TensorEntry& t : plan.tensors) {
    expect(t.file >= 0 && t.file < static_cast<int64_t>(plan.files.size()) && t.rows > 0 && t.cols > 0, "tensor ", t.name, " is misplaced");
    expect(t.dtype == DType::kF32 || t.dtype == DType::kBf16 || t.dtype == DType::kF16, "tensor ", t.name, " has an unknown dtype");
    total += static_cast<uint64_t>(t.rows) * t.cols * dtype_bytes(t.dtype);
  }
  std::unique_ptr<MappedFile> file;
  std::vector<char> aligned;
  int64_t open = -1;
  for (size_t i : order) {
    const TensorEntry& t = plan.tensors[i];
    if (t.file != open) {
      file = std::make_unique<MappedFile>(plan.files[t.file]);
      open = t.file;
    }
    const uint64_t bytes = static_cast<uint64_t>(t.rows) * t.cols * dtype_bytes(t.dtype);
    const void* data = file->range(t.offset, bytes, t.name);
    if (reinterpret_cast<uintptr_t>(data) % dtype_bytes(t.dtype) != 0) {  // a header of odd length is legal
      aligned.assign(static_cast<const char*>(data), static_cast<const char*>(data) + bytes);
      data = aligned.data();
    }
    loader.fill(t, View(const_cast<void*>(data), t.dtype, {t.rows, t.cols}));
    file->release(t.offset, bytes);
    progress(done += bytes, total);
  }
  return loader.finish();
}

}  // namespace m2
