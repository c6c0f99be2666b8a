// Reads the tensors of a checkpoint piece by piece, as rows that a weight can be packed from.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "model/checkpoint_file.h"
#include "model/weight_plan.h"

namespace m2 {

// One part of the tensors (values, scales, ...), one file of it open at a time: parts may lie in other files than their values.
class PartReader {
 public:
  explicit PartReader(const WeightPlan& plan) : plan_(plan) {}

  // Bytes from `skip` behind the place on, valid until the next call.
  char* read(Place place, uint64_t skip, uint64_t bytes, const TensorEntry&);

 private:
  const WeightPlan& plan_;
  std::unique_ptr<CheckpointFile> file_;
  std::vector<char> data_;
  int64_t open_ = -1;
  uint64_t wanted_ = 0;  // up to this byte of the file
};

class TensorReader {
 public:
  explicit TensorReader(const WeightPlan& plan) : plan_(plan), values_(plan), scales_(plan), zeros_(plan), index_(plan) {}

  // Hands over all rows of a tensor in order, some at a time: a multiple of 128, or the last. What is handed over is valid during the call.
  using Take = std::function<void(int64_t first_row, const MatrixRows& rows)>;
  void read(const TensorEntry&, const Take& take);

 private:
  MatrixRows numbers(const TensorEntry&, int64_t first, int64_t count);
  MatrixRows codes(const TensorEntry&, int64_t first, int64_t count);
  void read_transposed(const TensorEntry&);
  void check_index(const TensorEntry&);
  void check_symmetric(const TensorEntry&, int64_t first_row, int64_t zeros);

  const WeightPlan& plan_;
  PartReader values_, scales_, zeros_, index_;
  // Of AWQ and GPTQ, whose rows lie across the file: the whole of the tensor that is being read.
  const uint32_t *code_words_ = nullptr, *zero_words_ = nullptr;
  const void* group_scales_ = nullptr;
  // Rows as they are handed over.
  std::vector<uint8_t> codes_, row_zeros_;
  std::vector<bf16> row_scales_;
};

}  // namespace m2
