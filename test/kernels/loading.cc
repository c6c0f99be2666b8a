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

}  // namespace

std::vector<Case> loading_cases(bool m2) {
  constexpr WeightType kFp8{.format = WeightFormat::kFp8}, kInt4{.format = WeightFormat::kInt4, .group = 128}, kZeros{.format = WeightFormat::kInt4, .group = 64, .zeros = true};
  if (m2) return {pack(1024, 3072), pack(1024, 3072, ", FP8", kFp8), pack(1024, 3072, ", int4", kInt4), fill_random(1 << 20, DType::kBf16)};
  return {pack(70, 96), pack(70, 160, ", FP8", kFp8), pack(70, 160, ", int4", kInt4), pack(70, 96, ", int4 with zeros", kZeros), fill_random(1000, DType::kBf16), fill_random(500, DType::kF32)};
}

}  // namespace m2::kernels
