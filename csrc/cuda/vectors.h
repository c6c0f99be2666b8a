// 16 bytes at a time: eight bf16 as floats and back, four floats.
#pragma once
#include "cuda/device.h"
#include "cuda/ptx/memory.h"

namespace m2::cuda {

// The element types of core/dtype.h on the device's side of a launcher.
inline const __nv_bfloat16* bf16_data(const void* p) { return static_cast<const __nv_bfloat16*>(p); }
inline __nv_bfloat16* bf16_data(void* p) { return static_cast<__nv_bfloat16*>(p); }

__device__ __forceinline__ float2 unpack_bf16(uint32_t pair) {
  return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u)};
}

// Rounded to nearest even, `low` in the lower half.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  uint32_t bits;
  memcpy(&bits, &pair, sizeof bits);
  return bits;
}

__device__ __forceinline__ uint2 pack_bf16(const float4& v) { return {pack_bf16(v.x, v.y), pack_bf16(v.z, v.w)}; }

__device__ __forceinline__ void load_bf16x8(const __nv_bfloat16* from, float (&values)[8]) {
  const uint4 raw = *reinterpret_cast<const uint4*>(from);
  const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float2 pair = unpack_bf16(words[i]);
    values[2 * i] = pair.x;
    values[2 * i + 1] = pair.y;
  }
}

__device__ __forceinline__ void load_bf16x4(const __nv_bfloat16* from, float (&values)[4]) {
  const uint2 raw = *reinterpret_cast<const uint2*>(from);
  const float2 low = unpack_bf16(raw.x), high = unpack_bf16(raw.y);
  values[0] = low.x, values[1] = low.y, values[2] = high.x, values[3] = high.y;
}

__device__ __forceinline__ void store_bf16x8(__nv_bfloat16* to, const float (&values)[8]) {
  *reinterpret_cast<uint4*>(to) = {pack_bf16(values[0], values[1]), pack_bf16(values[2], values[3]), pack_bf16(values[4], values[5]), pack_bf16(values[6], values[7])};
}

__device__ __forceinline__ void store_f32x8(float* to, const float (&values)[8]) {
  reinterpret_cast<float4*>(to)[0] = {values[0], values[1], values[2], values[3]};
  reinterpret_cast<float4*>(to)[1] = {values[4], values[5], values[6], values[7]};
}

// Has L2 fetch numbers that the block will read.
__device__ __forceinline__ void prefetch_l2(const float* from, int count) {
  constexpr int kLine = 128 / sizeof(float);
  for (int i = threadIdx.x * kLine; i < count; i += blockDim.x * kLine) ptx::prefetch_l2(from + i);
}

}  // namespace m2::cuda
