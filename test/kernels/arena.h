// Inputs and outputs of one op on one backend: seeded numbers, the same on every backend, outputs poisoned, guard bytes behind everything.
#pragma once
#include <algorithm>
#include <cmath>
#include <deque>
#include <string>
#include <vector>

#include "core/hash.h"
#include "core/ops.h"

namespace m2::kernels {

using Shape = std::initializer_list<int64_t>;

// Numbers that follow from a seed alone.
class Random {
 public:
  explicit Random(uint64_t seed) : seed_(seed) {}
  uint64_t next() { return mixed(seed_ += 0x9E3779B97F4A7C15u); }
  int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }
  double uniform() { return (static_cast<double>(next() >> 11) + 0.5) * 0x1p-53; }
  float normal() { return static_cast<float>(std::sqrt(-2 * std::log(uniform())) * std::cos(2 * M_PI * uniform())); }
  std::vector<float> normals(int64_t n, float scale = 1, float mean = 0) {
    std::vector<float> values(n);
    for (float& v : values) v = mean + scale * normal();
    return values;
  }
  std::vector<int32_t> shuffled(int64_t n) {
    std::vector<int32_t> order(n);
    for (int64_t i = 0; i < n; i++) order[i] = static_cast<int32_t>(i);
    for (int64_t i = n - 1; i > 0; i--) std::swap(order[i], order[below(i + 1)]);
    return order;
  }

 private:
  uint64_t seed_;
};

inline std::vector<float> rounded(std::vector<float> values) {
  for (float& v : values) v = to_f32(to_bf16(v));
  return values;
}

class Arena {
 public:
  static constexpr size_t kGuard = 256;

  explicit Arena(Backend& ops) : ops(ops) {}

  View ints(const std::vector<int32_t>& values, Shape shape) { return put(values.data(), DType::kI32, shape); }
  View ints(const std::vector<int32_t>& values) { return ints(values, {static_cast<int64_t>(values.size())}); }
  View floats(const std::vector<float>& values, Shape shape) { return put(values.data(), DType::kF32, shape); }
  View halves(const std::vector<float>& values, Shape shape) {
    std::vector<bf16> rounded(values.size());
    for (size_t i = 0; i < values.size(); i++) rounded[i] = to_bf16(values[i]);
    return put(rounded.data(), DType::kBf16, shape);
  }
  // Activations: bf16 numbers whatever type the backend keeps them in.
  View act(const std::vector<float>& values, Shape shape) {
    return ops.activations() == DType::kBf16 ? halves(values, shape) : floats(rounded(values), shape);
  }
  View out(DType dtype, Shape shape) {
    View view(nullptr, dtype, shape);
    const std::vector<unsigned char> poison(static_cast<size_t>(view.numel()) * dtype_bytes(dtype), 0xff);
    return put(poison.data(), dtype, shape);
  }
  View act_out(Shape shape) { return out(ops.activations(), shape); }
  template <class T>
  const T* records(const std::vector<T>& values) {
    return static_cast<const T*>(place(values.data(), values.size() * sizeof(T)));
  }

  // Rows [experts, n, k] of bf16 numbers; of other types bytes and scales that follow from them.
  Weight weight(int64_t experts, int64_t n, int64_t k, WeightLayout layout, const std::vector<float>& values, WeightType type = {});
  // Values as the dtype rounds them; the scales of an f8 cache are not all the same.
  KvCache kv(DType dtype, int64_t pages, int64_t layers, int64_t heads, int64_t page_size, int64_t head_dim, const std::vector<float>& values);

  std::vector<float> read(const View&);
  std::vector<float> read(const KvCache&);
  // Throws where something behind a view was written.
  void check_guards();

  Backend& ops;

 private:
  struct Piece {
    Buffer memory;
    size_t bytes;
  };
  View put(const void* values, DType dtype, Shape shape) {
    View view(nullptr, dtype, shape);
    view.data = place(values, static_cast<size_t>(view.numel()) * dtype_bytes(dtype));
    return view;
  }
  void* place(const void* values, size_t bytes);
  std::vector<float> read(const void* data, DType dtype, int64_t count);

  std::deque<Piece> pieces_;
};

}  // namespace m2::kernels
