#include "model/weights.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>

#include "model/row_quantiser.h"
#include "model/tensor_reader.h"

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
  Loader(Backend& ops, const Geometry& g, const WeightPlan& plan) : ops_(ops), g_(g), plan_(plan), filled_(static_cast<size_t>(places_per_layer() * (g.layers + 1))) {
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
  void fill(const TensorEntry& t, int64_t first, const MatrixRows& matrix) {
    if (first == 0) take_place(t);
    const View& source = matrix.values;
    const auto rows = [&](Weight& weight, int64_t expert, int64_t first_row, int64_t count) {
      expect_shape(t, count, weight.k);
      // Codes too where a weight is of several tensors that are not stored alike.
      const bool fits = is_codes(t.form) && matrix.group == weight.type.group && (weight.type.zeros || !matrix.zeros);
      const bool to_quantise = weight.type.format == WeightFormat::kInt4 && !fits;
      try {
        ops_.pack(weight, expert, first_row + first, to_quantise ? quantiser_.quantise(matrix) : matrix);
      } catch (const Error& error) {  // what is wrong with the numbers does not say yet whose they are
        if (error.code() != "BAD_CHECKPOINT") throw;
        fail("BAD_CHECKPOINT", plan_.files[static_cast<size_t>(t.values.file)], ": ", t.name, ": ", error.what());
      }
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
  void fill(Weight& weight) { ops_.fill_random(weight, seed_++); }
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
    Weight weight = ops_.allocate_weight(experts, n, k, layout, type);
    w_.bytes += weight.data.bytes();
    return weight;
  }
  void expect_shape(const TensorEntry& t, int64_t rows, int64_t cols) {
    if (t.rows != rows || t.cols != cols)
      fail("BAD_CHECKPOINT", "tensor ", t.name, " is [", t.rows, ", ", t.cols, "], expected [", rows, ", ", cols, "]");
  }
  Backend& ops_;
  const Geometry& g_;
  const WeightPlan& plan_;
  ModelWeights w_;
  std::vector<bool> filled_;
  uint64_t seed_ = 1;
  RowQuantiser quantiser_;
  int64_t required_ = 0;  // filled places other than the optional routing bias
};

// What TypeScript promises.
void check(const WeightPlan& plan, const TensorEntry& t) {
  const bool is_matrix = t.kind == TensorKind::kLmHead || (t.kind >= TensorKind::kQProj && t.kind <= TensorKind::kOProj) || t.kind >= TensorKind::kW1;
  const auto files = static_cast<int64_t>(plan.files.size());
  expect(t.values && t.rows > 0 && t.cols > 0, "tensor ", t.name, " is misplaced");
  for (const Place& part : {t.values, t.scales, t.zeros, t.group_index}) expect(part.file < files, "tensor ", t.name, " is in file ", part.file);
  if (t.form < Form::kF8E4m3) return;
  expect(is_matrix && t.scales, "tensor ", t.name, " has a form that it cannot have");
  if (!is_codes(t.form)) return;
  expect(t.group > 0 && t.cols % 16 == 0 && t.scale_dtype <= DType::kF16, "tensor ", t.name, " has groups of ", t.group, " in ", t.cols, " columns");
  expect(t.form == Form::kPacked || (t.zeros && t.rows % 8 == 0), "tensor ", t.name, " has no zeros, or ", t.rows, " rows");
}

}  // namespace

bool ModelWeights::rounds_rows() const {
  return std::any_of(layers.begin(), layers.end(), [](const LayerWeights& w) {
    return w.qkv.type.fp8_rows || w.o.type.fp8_rows || w.w13.type.fp8_rows || w.w2.type.fp8_rows;
  });
}

ModelWeights load_weights(Backend& ops, const Geometry& g, const WeightPlan& plan, const Progress& progress) {
  Loader loader(ops, g, plan);
  if (plan.random) return loader.random();
  std::vector<size_t> order(plan.tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const TensorEntry &x = plan.tensors[a], &y = plan.tensors[b];
    return std::pair(x.values.file, x.values.offset) < std::pair(y.values.file, y.values.offset);
  });
  uint64_t total = 0, done = 0;
  for (const TensorEntry& t : plan.tensors) {
    check(plan, t);
    total += t.bytes();
  }
  TensorReader reader(plan);
  for (size_t i : order) {
    const TensorEntry& t = plan.tensors[i];
    reader.read(t, [&](int64_t first, const MatrixRows& rows) {
      loader.fill(t, first, rows);
      progress(done += static_cast<uint64_t>(rows.values.size(0)) * t.row_bytes(), total);
    });
  }
  return loader.finish();
}

}  // namespace m2
