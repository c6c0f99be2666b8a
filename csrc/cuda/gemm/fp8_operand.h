// Packed weights as operand A of wgmma in e4m3, m64nNk32, beside rows that are e4m3 too (fp8_rows.h). The four registers of 32 k are
//   a0: row g, of the first 16 k   a1: row g + 8, of those   a2, a3: the same of the last 16     each with k 2t, 2t+1, 2t+8, 2t+9
// What is multiplied are the stored numbers themselves; scales meet the sums. A sum is one chain of wgmma from zero over a block of 128 k, or over a group of
// codes where that is smaller: it is multiplied by the scales of both sides and added, in order, to the sum of the segment. So no sum in the matrix unit is longer
// than 128 k: Hopper cuts them off at 13 bits behind the point of the largest product (MMA-Sim, arXiv 2511.10909), after which float32 takes over.
// An operand is the codec that it is packed as with two functions: a lane's registers for half a stage, and what the sums of rows g and g + 8 are multiplied by.
#pragma once
#include <type_traits>

#include "cuda/gemm/codec.h"

namespace m2::cuda {

struct Fp8Operand : Fp8Codec {
  __device__ __forceinline__ static void fragment(uint32_t (&a)[4], const uint4 (&stored)[kVectors], const Scales&, int half) {
    constexpr uint32_t kLow = 0x5410, kHigh = 0x7632;
    const uint4& v = stored[half];
    a[0] = __byte_perm(v.x, v.y, kLow), a[1] = __byte_perm(v.x, v.y, kHigh);
    a[2] = __byte_perm(v.z, v.w, kLow), a[3] = __byte_perm(v.z, v.w, kHigh);
  }
  __device__ __forceinline__ static float2 factors(const Scales& s, int) { return {s.low * 0x1p-120f, s.high * 0x1p-120f}; }
};

template <bool kZeros>
struct Int4Operand : Int4Codec<kZeros> {
  using Scales = typename Int4Codec<kZeros>::Scales;

  // A byte n up to 16 is the e4m3 n 2^-9.
  __device__ __forceinline__ static void fragment(uint32_t (&a)[4], const uint4 (&stored)[1], const Scales& s, int half) {
    const uint32_t above = 0x10101010u - __byte_perm(half ? s.zero[1] : s.zero[0], 0, 0x2020);  // 16 - zero, of rows g, g + 8, g, g + 8
#pragma unroll
    for (int step = 0; step < 2; step++) {
      const uint32_t codes = half ? (step ? stored[0].w : stored[0].z) : step ? stored[0].y : stored[0].x;
      const uint32_t near = difference((codes & 0x0f0f0f0fu) + above), far = difference((codes >> 4 & 0x0f0f0f0fu) + above);
      a[2 * step] = __byte_perm(near, far, 0x6420), a[2 * step + 1] = __byte_perm(near, far, 0x7531);
    }
  }
  __device__ __forceinline__ static float2 factors(const Scales& s, int half) {
    const float2 scales = unpack_bf16(half ? s.scale[1] : s.scale[0]);
    return {scales.x * 0x1p9f, scales.y * 0x1p9f};
  }

 private:
  // Bytes 16 + d become d with a sign of its own.
  __device__ __forceinline__ static uint32_t difference(uint32_t bytes) {
    const uint32_t negative = ~bytes >> 4 & 0x01010101u;
    return ((bytes ^ negative * 15) & 0x0f0f0f0fu) + negative * 129;
  }
};

// Whether a codec is one of these.
template <class Codec>
constexpr bool kIsOperand = std::is_same_v<Codec, Fp8Operand> || std::is_same_v<Codec, Int4Operand<false>> || std::is_same_v<Codec, Int4Operand<true>>;

template <class Use>
auto with_operand(const WeightType& type, const Use& use) {
  if (type.format == WeightFormat::kFp8) return use(Fp8Operand());
  return type.zeros ? use(Int4Operand<true>()) : use(Int4Operand<false>());
}

// k of a chain, as a number of steps of 32.
__host__ __device__ constexpr int chain_steps(const WeightType& type) { return type.format == WeightFormat::kInt4 ? static_cast<int>(type.group) / 32 : 4; }

// Adds a chain's products to the sums: factors[0] of row g, [1] of g + 8; scales: of the rows of x, of the tile's first on.
template <int kColumns>
__device__ __forceinline__ void add_chain(float (&sums)[kColumns / 2], const float (&products)[kColumns / 2], const float2& factors, const float* scales) {
#pragma unroll
  for (int j = 0; j < kColumns / 8; j++) {
    const float2 columns = *reinterpret_cast<const float2*>(scales + 8 * j + threadIdx.x % 4 * 2);
    sums[4 * j] = fmaf(products[4 * j], factors.x * columns.x, sums[4 * j]);
    sums[4 * j + 1] = fmaf(products[4 * j + 1], factors.x * columns.y, sums[4 * j + 1]);
    sums[4 * j + 2] = fmaf(products[4 * j + 2], factors.y * columns.x, sums[4 * j + 2]);
    sums[4 * j + 3] = fmaf(products[4 * j + 3], factors.y * columns.y, sums[4 * j + 3]);
  }
}

}  // namespace m2::cuda
