// Rows of a matrix that a checkpoint stores as numbers, quantised to 4 bits: by m2 quantize, or while they are loaded.
#pragma once
#include <cstdint>
#include <vector>

#include "core/weight.h"
#include "model/quantize.h"

namespace m2 {

inline int64_t columns_of(const MatrixRows& rows) { return rows.values.size(1) * (rows.values.dtype == DType::kU8 ? 2 : 1); }
// A row as the bf16 numbers that it means.
void row_as_f32(const MatrixRows& rows, int64_t row, float* to);

class RowQuantiser {
 public:
  // Rows of any kind as codes in groups of 128 without zeros, valid until the next call. All processors share the work, rows by rows.
  // Throws BAD_CHECKPOINT where a number is not finite.
  MatrixRows quantise(const MatrixRows& rows);

  // What all of them lost so far.
  const Int4Error& error() const { return error_; }

 private:
  Int4Error error_;
  std::vector<uint8_t> codes_;
  std::vector<bf16> scales_;
};

}  // namespace m2
