// Rows of x rounded to e4m3 (core/fp8_rows.h), on the CPU: as the numbers that they then are, for products that know nothing of it.
#pragma once
#include <algorithm>
#include <type_traits>

#include "core/dtype.h"
#include "core/fp8_rows.h"

namespace m2::cpu {

// A row of k numbers, f32 or bf16, as it is when rounded.
template <class T>
void round_row(const T* from, int64_t k, T* to) {
  for (int64_t first = 0; first < k; first += kRowBlock) {
    const int64_t end = std::min(first + kRowBlock, k);
    uint32_t largest = 0;
    for (int64_t i = first; i < end; i++) {
      largest = std::max(largest, __builtin_bit_cast(uint32_t, to_f32(from[i])) & 0x7fffffffu);
    }
    const uint32_t bits = row_scale_bits(largest);
    const float scale = __builtin_bit_cast(float, bits), inverse = __builtin_bit_cast(float, inverse_scale_bits(bits));
    for (int64_t i = first; i < end; i++) {
      const float rounded = to_f32(to_f8(to_f32(from[i]) * inverse)) * scale;
      if constexpr (std::is_same_v<T, float>) to[i] = rounded;
      else to[i] = to_bf16(rounded);
    }
  }
}

}  // namespace m2::cpu
