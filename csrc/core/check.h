// The checks of one call, for messages that say what was expected and what was found.
#pragma once
#include <array>
#include <cmath>
#include <ostream>

#include "core/ops.h"

namespace m2 {

constexpr int64_t kStep = 32;  // hidden sizes, K of matrix products and head dims are multiples of it
constexpr int64_t kMaxHeadDim = 256;

struct Shape {
  int rank;
  std::array<int64_t, 4> sizes;
};

inline Shape shape_of(const View& v) { return {v.rank, v.sizes}; }

inline std::ostream& operator<<(std::ostream& out, const Shape& s) {
  out << "[";
  for (int i = 0; i < s.rank; i++) out << (i ? ", " : "") << s.sizes[i];
  return out << "]";
}

// The checks of one op; every message begins with the op's name.
class Check {
 public:
  Check(const char* op, bool reads_values) : op_(op), reads_values_(reads_values) {}

  template <class... Parts>
  void that(bool holds, const Parts&... parts) const {
    expect(holds, op_, ": ", parts...);
  }

  // The argument whose sizes name the others': only its dtype and rank are given.
  void rank(const View& v, const char* name, DType dtype, int rank) const {
    that(v.dtype == dtype && v.rank == rank, name, " must be ", dtype_name(dtype), " of ", rank, " dimensions, found ", dtype_name(v.dtype), " ",
         shape_of(v));
    for (int i = 0; i < rank; i++) that(v.sizes[i] >= 0, name, " must have sizes of 0 or more, found ", shape_of(v));
    that(v.data != nullptr || v.numel() == 0, name, " must have data, found a null pointer for ", shape_of(v));
  }

  void view(const View& v, const char* name, DType dtype, std::initializer_list<int64_t> sizes) const {
    const Shape expected = shape_of(View(nullptr, dtype, sizes)), found = shape_of(v);
    that(v.dtype == dtype && found.rank == expected.rank && found.sizes == expected.sizes, name, " must be ", dtype_name(dtype), " ", expected,
         ", found ", dtype_name(v.dtype), " ", found);
    that(v.data != nullptr || v.numel() == 0, name, " must have data, found a null pointer for ", found);
  }

  void at_least(int64_t value, const char* name, int64_t least) const { that(value >= least, name, " must be at least ", least, ", found ", value); }
  void multiple_of_step(int64_t value, const char* name) const {
    that(value > 0 && value % kStep == 0, name, " must be a positive multiple of ", kStep, ", found ", value);
  }
  void in_range(int64_t value, const char* name, int64_t first, int64_t last) const {
    that(value >= first && value <= last, name, " must be in ", first, "..", last, ", found ", value);
  }

  void weight(const Weight* w, WeightLayout layout, int64_t experts, int64_t n, int64_t k) const {
    that(w && w->data.data(), "weight must be allocated, found none");
    that(w->layout == layout, "weight must be packed for ", layout == WeightLayout::kGateUp ? "gate and up rows" : "plain rows", ", found the other");
    const Shape expected{3, {experts, n, k}}, found{3, {w->experts, w->n, w->k}};
    that(found.sizes == expected.sizes, "weight must be ", expected, ", found ", found);
  }

  void kv(const KvCache& kv, int64_t layer, int64_t head_dim) const {
    that(kv.data != nullptr, "kv must have data, found a null pointer");
    that(kv.dtype == DType::kF32 || kv.dtype == DType::kBf16 || kv.dtype == DType::kF8E4m3, "kv must be f32, bf16 or f8_e4m3, found ", dtype_name(kv.dtype));
    that((kv.scales != nullptr) == (kv.dtype == DType::kF8E4m3), "kv must have scales where it is f8_e4m3, and only there");
    that(kv.pages > 0 && kv.layers > 0 && kv.heads > 0 && kv.page_size > 0, "kv must have pages, layers, heads and a page size of 1 or more, found ",
         Shape{4, {kv.pages, kv.layers, kv.heads, kv.page_size}});
    that(kv.head_dim == head_dim, "kv must have head dim ", head_dim, ", found ", kv.head_dim);
    that(head_dim >= kStep && head_dim <= kMaxHeadDim && head_dim % kStep == 0, "head dim must be ", kStep, " to ", kMaxHeadDim, " in steps of ", kStep,
         ", found ", head_dim);
    in_range(layer, "layer", 0, kv.layers - 1);
    for (int64_t i = 0; kv.scales && reads_values_ && i < kv.scale_count(); i++)
      that(kv.scales[i] > 0 && std::isfinite(kv.scales[i]), "kv.scales[", i, "] must be a number above 0, found ", kv.scales[i]);
  }

  // Every value of an i32 view in first..last; of the first `count` only, where that is given.
  void values(const View& v, const char* name, int64_t first, int64_t last, int64_t count = -1) const {
    if (!reads_values_) return;
    const int32_t* x = v.as<int32_t>();
    for (int64_t i = 0, n = count < 0 ? v.numel() : count; i < n; i++) that(x[i] >= first && x[i] <= last, name, "[", i, "] must be in ", first, "..", last, ", found ", x[i]);
  }

  // Prefix sums: from 0, never falling, to at most `most`.
  void prefix_sums(const View& v, const char* name, int64_t most) const {
    if (!reads_values_) return;
    const int32_t* x = v.as<int32_t>();
    const int64_t last = v.numel() - 1;
    that(x[0] == 0, name, "[0] must be 0, found ", x[0]);
    for (int64_t i = 1; i <= last; i++) that(x[i] >= x[i - 1], name, "[", i, "] must be at least ", x[i - 1], ", found ", x[i]);
    that(x[last] <= most, name, "[", last, "] must be at most ", most, ", found ", x[last]);
  }

  bool reads_values() const { return reads_values_; }

 private:
  const char* op_;
  bool reads_values_;
};

}  // namespace m2
