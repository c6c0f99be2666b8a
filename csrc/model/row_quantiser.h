// Rows of a matrix that a checkpoint stores as numbers, quantised to 4 bits: by m2 quantize, or while they are loaded.
#pragma once
#include <cstdint>
#include <vector>

#include "core/weight.h"
#include "model/quantize.h"

namespace m2 {

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
