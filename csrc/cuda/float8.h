// e4m3 as floats and as pairs of bf16, exactly, by what sm_80 has. Where a float or a bf16 keeps exponent and mantissa, those of e4m3 mean 2^-120 of what they
// mean, its subnormals too; only NaN would come out as 480.
#pragma once
#include "core/dtype.h"
#include "cuda/device.h"

namespace m2::cuda {

__device__ __forceinline__ float f8_to_f32(f8 x) {
  const uint32_t magnitude = x.bits & 0x7f, sign = static_cast<uint32_t>(x.bits & 0x80) << 24;
  const float value = magnitude == 0x7f ? __uint_as_float(0x7fc00000) : __uint_as_float(magnitude << 20) * 0x1p120f;
  return __uint_as_float(__float_as_uint(value) | sign);
}

// Two e4m3 in the upper bytes of the halves of a word.
__device__ __forceinline__ uint32_t f8_pair_to_bf16(uint32_t pair) {
  const uint32_t bits = (pair >> 4 & 0x07f007f0) | (pair & 0x80008000), factor = 0x7b807b80;  // 2^120
  __nv_bfloat162 x, f;
  memcpy(&x, &bits, sizeof x);
  memcpy(&f, &factor, sizeof f);
  x = __hmul2(x, f);
  uint32_t product;
  memcpy(&product, &x, sizeof product);
  return product;
}

// Eight e4m3 as bf16.
__device__ __forceinline__ uint4 f8x8_to_bf16(uint2 raw) {
  const auto low = [](uint32_t word) { return f8_pair_to_bf16((word & 0xff) << 8 | (word & 0xff00) << 16); };
  const auto high = [](uint32_t word) { return f8_pair_to_bf16((word >> 8 & 0xff00) | (word & 0xff000000)); };
  uint4 wide = {low(raw.x), high(raw.x), low(raw.y), high(raw.y)};
  constexpr uint32_t kMagnitude = 0x7f7f7f7f, kOne = 0x01010101, kTop = 0x80808080;
  if ((((raw.x & kMagnitude) + kOne) | ((raw.y & kMagnitude) + kOne)) & kTop) {  // rare: a NaN among them
    const auto nan = [](uint32_t pair) {
      const uint32_t low = (pair & 0x7fff) == 0x43f0 ? 0x7fc0 : 0, high = (pair >> 16 & 0x7fff) == 0x43f0 ? 0x7fc0 : 0;  // 480
      return pair | low | high << 16;
    };
    wide = {nan(wide.x), nan(wide.y), nan(wide.z), nan(wide.w)};
  }
  return wide;
}

}  // namespace m2::cuda
