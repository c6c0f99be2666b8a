// What fills memory while a model loads: weights packed from rows of a file, numbers that the device makes.
#include "kernels/cases.h"

namespace m2::kernels {
namespace {

// Products with the packed weight give its rows back: x is the unit matrix's first rows.
Case pack(int64_t n, int64_t k, const char* name = "", WeightType type = {}) {
  constexpr int64_t kRows = 4;
  const double stored = type.format == WeightFormat::kBf16 ? 6 : type.format == WeightFormat::kFp8 ? 2 : 1;  // read as files have them, and written
  return {"pack", std::to_string(n) + " x " + std::to_string(k) + name, stored * n * k, [=](Arena& a, const std::function<void(const std::function<void()>&)>& run) {
            Random r(31);
            const std::vector<float> values = r.normals(n * k);
            Weight weight;
            run([&] { weight = a.weight(1, n, k, WeightLayout::kRows, values, type); });
            std::vector<float> ones(kRows * k);
            for (int64_t i = 0; i < kRows; i++) ones[i * k + i] = 1;
            const View x = a.act(ones, {kRows, k}), out = a.out(DType::kF32, {kRows, n});
            a.ops.linear({x, &weight, out});
            return Result{a.read(out), {}};
          }};
}

Case fill_random(int64_t count, DType dtype) {
  return {"fill_random", std::to_string(count) + " " + dtype_name(dtype), static_cast<double>(count * dtype_bytes(dtype)),
          [=](Arena& a, const std::function<void(const std::function<void()>&)>& run) {
            const View out = a.out(dtype, {count});
            run([&] { a.ops.fill_random(out.data, dtype, count, 0.5f, 9); });
            return Result{{}, a.read(out)};
          }};
}

// The same numbers on every device. What stands behind the rows and behind their k is in no product.
Case random_weight(int64_t experts, int64_t n, int64_t k, WeightLayout layout, const char* name = "", WeightType type = {}) {
  const std::string shape = std::to_string(experts) + " x " + std::to_string(n) + " x " + std::to_string(k) + name;
  return {"random weight", shape, static_cast<double>(experts * n * k), [=](Arena& a, const std::function<void(const std::function<void()>&)>& run) {
            Weight weight = a.ops.allocate_weight(experts, n, k, layout, type);
            run([&] { a.ops.fill_random(weight, 12); });
            const int64_t outputs = layout == WeightLayout::kGateUp ? n / 2 : n;
            std::vector<float> ones(experts * k);
            for (int64_t e = 0; e < experts; e++) ones[e * k + (7 * e + 5) % k] = 1;
            std::vector<int32_t> rows(experts + 1);
            for (int64_t e = 0; e <= experts; e++) rows[e] = static_cast<int32_t>(e);
            const View x = a.halves(ones, {experts, k}), offsets = a.ints(rows);
            if (layout == WeightLayout::kGateUp) {
              const View out = a.out(DType::kBf16, {experts, outputs});
              a.ops.grouped_gate_up({x, a.ints({rows.begin(), rows.end() - 1}), offsets, &weight, out});
              return Result{a.read(out), {}};
            }
            const View out = a.act_out({experts, outputs});
            a.ops.grouped_linear({x, offsets, &weight, out});
            return Result{a.read(out), {}};
          }};
}

}  // namespace

std::vector<Case> loading_cases(bool m2) {
  constexpr WeightType kFp8{.format = WeightFormat::kFp8}, kInt4{.format = WeightFormat::kInt4, .group = 128}, kZeros{.format = WeightFormat::kInt4, .group = 64, .zeros = true};
  if (m2) return {pack(1024, 3072), pack(1024, 3072, ", FP8", kFp8), pack(1024, 3072, ", int4", kInt4), fill_random(1 << 20, DType::kBf16)};
  return {pack(70, 96), pack(70, 160, ", FP8", kFp8), pack(70, 160, ", int4", kInt4), pack(70, 96, ", int4 with zeros", kZeros), fill_random(1000, DType::kBf16), fill_random(500, DType::kF32),
          random_weight(2, 70, 96, WeightLayout::kRows), random_weight(2, 70, 160, WeightLayout::kRows, ", FP8", kFp8), random_weight(2, 192, 160, WeightLayout::kGateUp, ", FP8", kFp8),
          random_weight(2, 70, 160, WeightLayout::kRows, ", int4", kInt4), random_weight(2, 192, 96, WeightLayout::kGateUp, ", int4 with zeros", kZeros)};
}

}  // namespace m2::kernels
