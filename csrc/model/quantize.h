// Rows of a matrix in 4 bits: each group of 128 along k has one scale, and a weight is bf16((q - 8) * scale) with q in 0..15. The scale is a bf16 number
// and may be negative: q - 8 reaches from -8 to 7, so its sign says on which side the larger half is.
//
// [n, k] f32 -> nibbles [n, k / 2] (the even k is the low nibble), scales [n, ceil(k / 128)] bf16; the last group of a row may be shorter.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace m2 {

constexpr int64_t kInt4Group = 128;
constexpr int64_t int4_groups(int64_t k) { return (k + kInt4Group - 1) / kInt4Group; }

// What was lost: sums over all weights, in the order of the rows.
struct Int4Error {
  double squared_error = 0, squared_weight = 0;
  int64_t groups = 0, clipped = 0;  // clipped: a weight lies more than half a step outside of what the codes reach

  void add(const Int4Error& other) {
    squared_error += other.squared_error;
    squared_weight += other.squared_weight;
    groups += other.groups;
    clipped += other.clipped;
  }
};

// Adds to `error`. Returns the first row that holds a NaN or an infinity, which ends the work; -1 when there is none. k is even. The result hangs on the
// rows alone: all sums have one order, and nothing is fused (CMakeLists.txt: -ffp-contract=off), so every machine makes the same bits.
int64_t quantize_int4(const float* rows, int64_t n, int64_t k, uint8_t* nibbles, bf16* scales, Int4Error& error);

}  // namespace m2
