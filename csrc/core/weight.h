// Weight matrices: as what they are held, and how their rows come from the host.
#pragma once
#include <vector>

#include "core/view.h"

namespace m2 {

// How the rows of a packed weight are arranged. kGateUp: a matrix of 2F rows, gate rows [0, F) and up rows [F, 2F); the backend may interleave
// them so that one tile holds a gate and its up.
enum class WeightLayout { kRows, kGateUp };

// What weights are held as. In all of them a weight means one bf16, and a product has the bits that it has with the bf16 matrix of those:
//   kFp8   bf16(e4m3 * scale), a float32 scale for each block of 128 rows and 128 k
//   kInt4  bf16((code - zero) * scale), codes of 4 bits; a bf16 scale and a zero (0..16) for each row and group of k
enum class WeightFormat { kBf16, kFp8, kInt4 };
constexpr int64_t kScaleBlock = 128;  // rows and k of FP8
constexpr int kMiddleCode = 8;        // the zero of codes that have none of their own

struct WeightType {
  WeightFormat format = WeightFormat::kBf16;
  int64_t group = 0;   // of kInt4: k that share a scale, 32, 64 or 128
  bool zeros = false;  // of kInt4: groups have zeros of their own
  bool fp8_rows = false;  // of kFp8 and kInt4: products take their rows as e4m3 (core/fp8_rows.h)
};

// A weight matrix [experts, n, k] in the backend's own layout (y = x W^T). experts is 1 for a dense product.
struct Weight {
  Buffer data;
  int64_t experts = 0, n = 0, k = 0;
  WeightLayout layout = WeightLayout::kRows;
  WeightType type;
};

// Some rows of a matrix in host memory. f32 and f16 mean the bf16 next to them. Numbers of f8 are no NaN, and scales are below 128 in magnitude.
struct MatrixRows {
  View values{};      // [rows, k] f32, bf16, f16 or f8; or codes, [rows, k / 2] u8: the even k in the low half
  View scales{};      // of f8: [ceil(rows / 128), ceil(k / 128)] f32; of codes: [rows, ceil(k / group)] bf16
  View zeros{};       // of codes: [rows, ceil(k / group)] u8, or empty: 8 everywhere
  int64_t group = 0;  // of codes
};

inline int64_t columns_of(const MatrixRows& rows) { return rows.values.size(1) * (rows.values.dtype == DType::kU8 ? 2 : 1); }
// The bf16 that `count` rows from `first` on mean, [count, k]. Of f8 they are rows of one block.
void write_as_bf16(const MatrixRows& rows, int64_t first, int64_t count, bf16* to);

// One expert's rows, whose values are still to come: those of core/hash.h over -size .. size, numbered through all experts. Under the scales they
// have a variance of 1 / k.
struct RandomRows {
  explicit RandomRows(const Weight&);

  MatrixRows rows;
  float size;

 private:
  std::vector<float> scales_;
  std::vector<bf16> code_scales_;
  std::vector<uint8_t> zeros_;
};

constexpr int64_t groups_of(int64_t k, int64_t group) { return (k + group - 1) / group; }

}  // namespace m2
