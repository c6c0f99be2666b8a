#include "model/tensor_reader.h"

#include <algorithm>

#include "core/error.h"
#include "model/int4_tensors.h"

namespace m2 {
namespace {

constexpr int64_t kPieceBytes = 8 << 20;  // that are read and packed at a time

uint64_t unsign(int64_t n) { return static_cast<uint64_t>(n); }

}  // namespace

char* PartReader::read(Place place, uint64_t skip, uint64_t bytes, const TensorEntry& t) {
  if (place.file != open_) {
    file_ = std::make_unique<CheckpointFile>(plan_.files[unsign(place.file)]);
    open_ = place.file;
    wanted_ = 0;
  }
  const uint64_t offset = place.offset + skip;
  if (data_.size() < bytes) data_.resize(bytes);
  file_->read(offset, data_.data(), bytes, t.name);
  if (offset + bytes + kPieceBytes > wanted_) {  // the next pieces are on their way while this one is packed
    file_->want(offset + bytes, 4 * kPieceBytes);
    wanted_ = offset + bytes + 4 * kPieceBytes;
  }
  return data_.data();
}

void TensorReader::read(const TensorEntry& t, const Take& take) {
  if (t.group_index) check_index(t);
  if (is_codes(t.form) && t.form != Form::kPacked) read_transposed(t);
  const int64_t piece = std::max<int64_t>(1, kPieceBytes / static_cast<int64_t>(t.row_bytes()) / kScaleBlock) * kScaleBlock;
  for (int64_t first = 0; first < t.rows; first += piece) {
    const int64_t count = std::min(piece, t.rows - first);
    take(first, is_codes(t.form) ? codes(t, first, count) : numbers(t, first, count));
  }
}

MatrixRows TensorReader::numbers(const TensorEntry& t, int64_t first, int64_t count) {
  MatrixRows rows;
  rows.values = View(values_.read(t.values, unsign(first) * t.row_bytes(), unsign(count) * t.row_bytes(), t), dtype_of(t.form), {count, t.cols});
  if (t.form == Form::kF8E4m3) {
    const int64_t blocks = groups_of(t.cols, kScaleBlock), block_rows = groups_of(count, kScaleBlock);
    const uint64_t row_bytes = unsign(blocks) * sizeof(float);
    rows.scales = View(scales_.read(t.scales, unsign(first / kScaleBlock) * row_bytes, unsign(block_rows) * row_bytes, t), DType::kF32, {block_rows, blocks});
  }
  return rows;
}

MatrixRows TensorReader::codes(const TensorEntry& t, int64_t first, int64_t count) {
  const int64_t groups = groups_of(t.cols, t.group);
  const RowRange range{first, count};
  row_scales_.resize(unsign(count * groups));
  if (t.zeros) row_zeros_.resize(unsign(count * groups));
  if (t.form != Form::kPacked) codes_.resize(unsign(count) * t.row_bytes());
  uint8_t* values = codes_.data();
  switch (t.form) {
    case Form::kAwq:
      awq_codes(code_words_, t.rows, t.cols, range, values);
      awq_zeros(zero_words_, t.rows, groups, range, row_zeros_.data());
      break;
    case Form::kGptq:
    case Form::kGptqV2:
      gptq_codes(code_words_, t.rows, t.cols, range, values);
      gptq_zeros(zero_words_, t.rows, groups, t.form == Form::kGptq ? 1 : 0, range, row_zeros_.data());
      break;
    default: {
      values = reinterpret_cast<uint8_t*>(values_.read(t.values, unsign(first) * t.row_bytes(), unsign(count) * t.row_bytes(), t));
      const uint64_t scale_bytes = unsign(groups) * dtype_bytes(t.scale_dtype), zero_bytes = unsign(groups) * sizeof(uint32_t);
      rounded_scales(scales_.read(t.scales, unsign(first) * scale_bytes, unsign(count) * scale_bytes, t), t.scale_dtype, count * groups, row_scales_.data());
      if (t.zeros) packed_zeros(reinterpret_cast<uint32_t*>(zeros_.read(t.zeros, unsign(first / 8) * zero_bytes, unsign((count + 7) / 8) * zero_bytes, t)), groups, count, row_zeros_.data());
    }
  }
  if (t.form != Form::kPacked) transposed_scales(group_scales_, t.scale_dtype, t.rows, groups, range, row_scales_.data());
  MatrixRows rows{.values = View::of(values, {count, t.cols / 2}), .scales = View::of(row_scales_.data(), {count, groups}), .group = t.group};
  if (t.zeros && t.symmetric) check_symmetric(t, first, count * groups);
  if (t.zeros && !t.symmetric) rows.zeros = View::of(row_zeros_.data(), {count, groups});
  return rows;
}

void TensorReader::read_transposed(const TensorEntry& t) {
  const uint64_t groups = unsign(groups_of(t.cols, t.group)), rows = unsign(t.rows);
  code_words_ = reinterpret_cast<uint32_t*>(values_.read(t.values, 0, t.bytes(), t));
  zero_words_ = reinterpret_cast<uint32_t*>(zeros_.read(t.zeros, 0, groups * rows / 2, t));
  group_scales_ = scales_.read(t.scales, 0, groups * rows * dtype_bytes(t.scale_dtype), t);
}

void TensorReader::check_index(const TensorEntry& t) {
  const auto* index = reinterpret_cast<int32_t*>(index_.read(t.group_index, 0, unsign(t.cols) * sizeof(int32_t), t));
  for (int64_t i = 0; i < t.cols; i++) {
    if (index[i] == i / t.group) continue;
    fail("UNSUPPORTED_MODEL", plan_.files[unsign(t.group_index.file)], ": ", t.name, ": g_idx: expected groups in the order of the columns (no desc_act), found column ", i,
         " in group ", index[i], " instead of ", i / t.group);
  }
}

void TensorReader::check_symmetric(const TensorEntry& t, int64_t first_row, int64_t zeros) {
  const auto end = row_zeros_.begin() + zeros, wrong = std::find_if(row_zeros_.begin(), end, [](uint8_t zero) { return zero != kMiddleCode; });
  if (wrong == end) return;
  const int64_t row = first_row + (wrong - row_zeros_.begin()) / groups_of(t.cols, t.group);
  fail("BAD_CHECKPOINT", plan_.files[unsign(t.zeros.file)], ": ", t.name, ": zeros: expected ", kMiddleCode, " everywhere, as config.json says symmetric, found ", static_cast<int>(*wrong), " in row ",
       row);
}

}  // namespace m2
