// Matrices [n, k] of 4-bit codes as checkpoints store them, turned into rows as Backend::pack takes them: codes [n, k / 2], the even column in the low half
// of a byte; zeros [n, groups] of a byte; scales [n, groups]. A weight is (code - zero) * scale of its row and group of columns. All words are u32 of eight
// codes; the first is in the lowest bits.
//
//            codes                                     zeros                                       scales
//   AWQ      [k, n / 8], rows 0 2 4 6 1 3 5 7          [groups, n / 8], rows in the same order     [groups, n]
//   GPTQ     [k / 8, n], columns                       [groups, n / 8], rows; v1 stores them - 1   [groups, n]
//   packed   [n, k / 8], columns: bytes as wanted      [ceil(n / 8), groups], rows                 [n, groups]
//
// The orders are those of AutoAWQ, GPTQModel and compressed-tensors.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace m2 {

// Rows of a matrix.
struct RowRange {
  int64_t first, count;  // multiples of 8, but for the last rows of a packed one
};

// k is a multiple of 16.
void awq_codes(const uint32_t* words, int64_t n, int64_t k, RowRange rows, uint8_t* codes);
void gptq_codes(const uint32_t* words, int64_t n, int64_t k, RowRange rows, uint8_t* codes);

void awq_zeros(const uint32_t* words, int64_t n, int64_t groups, RowRange rows, uint8_t* zeros);
// stored_less: what a stored zero lacks.
void gptq_zeros(const uint32_t* words, int64_t n, int64_t groups, int stored_less, RowRange rows, uint8_t* zeros);
// words: from those of rows.first on.
void packed_zeros(const uint32_t* words, int64_t groups, int64_t count, uint8_t* zeros);

// [groups, n] f32, bf16 or f16 -> [count, groups]
void transposed_scales(const void* scales, DType dtype, int64_t n, int64_t groups, RowRange rows, bf16* to);
// In their order.
void rounded_scales(const void* scales, DType dtype, int64_t count, bf16* to);

}  // namespace m2
