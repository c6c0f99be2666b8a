// Rows of x as e4m3 (core/fp8_rows.h), on the device. A warp rounds a block of 128 k at a time. Within each 16 k their order is the one in which packed weights
// have theirs (gemm/layout.h): four lanes have k 2t, 2t+1, 2t+8, 2t+9 each, and those are neighbours here, so that 32 k of weights and of x are what wgmma
// takes as its k of 32 bytes without a byte of either being moved. A sum does not mind.
#pragma once
#include "core/fp8_rows.h"
#include "cuda/gemm/layout.h"
#include "cuda/gemm/task.h"
#include "cuda/ptx/convert.h"

namespace m2::cuda {

constexpr int kBlockK = static_cast<int>(kRowBlock), kBlockStages = kBlockK / kStage, kSegmentBlocks = kSegment / kBlockK;

// A lane's four numbers of a block that begins at `from`.
__device__ __forceinline__ uint2 load_block(const __nv_bfloat16* from) {
  const int lane = threadIdx.x % kWarp, k = lane / 4 * kStep + lane % 4 * 2;
  return {*reinterpret_cast<const uint32_t*>(from + k), *reinterpret_cast<const uint32_t*>(from + k + 8)};
}

// The block's scale, of which all lanes have the same.
__device__ __forceinline__ float block_scale(const uint2& numbers) {
  const uint32_t low = numbers.x & 0x7fff7fffu, high = numbers.y & 0x7fff7fffu;
  const uint32_t largest = max(max(low << 16, low & 0xffff0000u), max(high << 16, high & 0xffff0000u));
  return __uint_as_float(row_scale_bits(__reduce_max_sync(kFullMask, largest)));
}

// The lane's four, which are bytes 4 lane .. of the block.
__device__ __forceinline__ uint32_t round_block(const uint2& numbers, float scale) {
  const float inverse = __uint_as_float(inverse_scale_bits(__float_as_uint(scale)));
  const float2 low = unpack_bf16(numbers.x), high = unpack_bf16(numbers.y);
  return ptx::cvt_e4m3x2_f32(low.x * inverse, low.y * inverse) | static_cast<uint32_t>(ptx::cvt_e4m3x2_f32(high.x * inverse, high.y * inverse)) << 16;
}

}  // namespace m2::cuda
