// e4m3 as floats and as pairs of bf16, exactly, by what sm_80 has. Where a float or a bf16 keeps exponent and mantissa, those of e4m3 mean 2^-120 of what they
// mean, its subnormals too; only NaN would come out as 480.
#pragma once
#ifndef M2_EMULATED
#include <cuda_fp8.h>
#endif

#include "core/dtype.h"
#include "cuda/device.h"

namespace m2::cuda {

__device__ __forceinline__ float f8_to_f32(f8 x) {
  const uint32_t magnitude = x.bits & 0x7f, sign = static_cast<uint32_t>(x.bits & 0x80) << 24;
  const float value = magnitude == 0x7f ? __uint_as_float(0x7fc00000) : __uint_as_float(magnitude << 20) * 0x1p120f;
  return __uint_as_float(__float_as_uint(value) | sign);
}

// The nearest e4m3 to a float of at most 448, as a float. Adding 3 2^19 times its power of 2 leaves room for three bits behind the first.
__device__ __forceinline__ float round_to_f8(float x) {
  const float above = fmaxf(__uint_as_float(__float_as_uint(x) & 0x7f800000), 0x1p-6f) * 0x1.8p20f;
  return x + above - above;
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

// Eight e4m3 as bf16. Later devices convert by way of f16 and f32, exactly too, in half as many cycles.
__device__ __forceinline__ uint4 f8x8_to_bf16(uint2 raw) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  const auto pair = [](uint32_t word) {
    const float2 floats = __half22float2(__half2(__nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(word), __NV_E4M3)));
    const __nv_bfloat162 pair = __floats2bfloat162_rn(floats.x, floats.y);
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    return bits;
  };
  return {pair(raw.x), pair(raw.x >> 16), pair(raw.y), pair(raw.y >> 16)};
#else
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
#endif
}

}  // namespace m2::cuda
