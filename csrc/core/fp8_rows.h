// Rows of x as e4m3, for products with weights whose type says so. Each 128 k of a row share a scale, the power of 2 that brings the largest of their magnitudes
// into (224, 448]: so scaling is exact, and a rounded number is a bf16 too. Checkpoints in FP8 are meant for rows in such blocks ("activation_scheme":
// "dynamic" beside "weight_block_size" [128, 128] in their config.json).
#pragma once
#include <cstdint>

namespace m2 {

constexpr int64_t kRowBlock = 128;  // k that share a scale

// The bits, as a float, of a block's scale, from those of its largest magnitude. (Magnitudes are ordered as their bits are, with NaN above all.) That of a block
// with an infinity or a NaN is NaN, and so is what it is multiplied with: e4m3 has no infinity.
constexpr uint32_t row_scale_bits(uint32_t largest) {
  if (largest >= 0x7f800000u) return 0x7fc00000u;
  const uint32_t exponent = (largest + 0x1fffffu) >> 23;  // of 1.75 * 2^8, 448, still that of 2^8
  return (exponent > 8 ? exponent - 8 : 1) << 23;
}
// Those of 1 / scale.
constexpr uint32_t inverse_scale_bits(uint32_t scale) { return (254u << 23) - scale; }

}  // namespace m2
