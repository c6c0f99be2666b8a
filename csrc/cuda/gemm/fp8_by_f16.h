// Fp8Codec where there is an instruction for it: a pair of e4m3 becomes a pair of f16, exactly, and those become floats, in three instructions where bits take
// six. The products with the scale, and so the weights, are the same.
#pragma once
#include <cuda_fp16.h>

#include <type_traits>

#include "cuda/gemm/codec.h"
#include "cuda/ptx/convert.h"

namespace m2::cuda {

struct Fp8ByF16Codec : Fp8Codec {
  __device__ __forceinline__ static Scales scales(const uint4* record, const uint4* second) {
    const Scales s = Fp8Codec::scales(record, second);
    return {s.low * 0x1p-120f, s.high * 0x1p-120f};  // exact: it is what has been packed
  }
  __device__ __forceinline__ static uint4 fragment(const uint4& stored, const Scales& s, int step) {
    const uint32_t low = step % 2 ? stored.z : stored.x, high = step % 2 ? stored.w : stored.y;  // a0 a1, a2 a3
    return {pair(low, s.low), pair(low >> 16, s.high), pair(high, s.low), pair(high >> 16, s.high)};
  }

 private:
  __device__ __forceinline__ static uint32_t pair(uint32_t bytes, float scale) {
    const uint32_t halves = ptx::cvt_f16x2_e4m3x2(static_cast<uint16_t>(bytes));
    __half2 numbers;
    memcpy(&numbers, &halves, sizeof numbers);
    return pack_bf16(__low2float(numbers) * scale, __high2float(numbers) * scale);
  }
};

// The codec that Hopper's kernels take for one of codec.h.
template <class Codec>
using HopperCodec = std::conditional_t<std::is_same_v<Codec, Fp8Codec>, Fp8ByF16Codec, Codec>;

}  // namespace m2::cuda
