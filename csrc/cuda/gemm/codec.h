// What weights are stored as, one struct for each format, and how a stage of a panel (64 k of 16 outputs) becomes operand A of its four steps. A stage is
// 16-byte vectors, one for each lane at a time; a lane's weights of a step are a0 .. a3 as gemm/layout.h has them, two numbers each.
//
//   Bf16Codec  [4 steps][32 lanes][a0 a1 a2 a3]
//   Fp8Codec   [2][32 lanes][2 steps][a0 a1 a2 a3], a byte a number. A record for each 128 k: {scale of rows 0..7, of rows 8..15, -, -} f32, times 2^120
//   Int4Codec  [32 lanes][4 steps], a word a step: its lower half has the first numbers of a0 a2 a1 a3, its upper half the second ones, so that a row's are
//              whole bytes. A record for each group of k: [8 g] {scale of row g, of row g + 8} bf16; with zeros [8 g] {128 + zero of row g, of g + 8} bf16
//
// Records lie behind all weights: [experts][panels][records]. What stands behind K and behind the last row has scales of 0.
#pragma once
#include <cstring>

#include "core/weight.h"
#include "cuda/gemm/layout.h"
#include "cuda/gemm/plan.h"
#include "cuda/vectors.h"

namespace m2::cuda {

struct Bf16Codec {
  static constexpr int kVectors = 4;        // of a lane in a stage
  static constexpr int kVectorSteps = 1;    // that a vector has
  static constexpr int kStageRecords = 0;   // that a stage reads: one for each half of it, where they may differ
  static constexpr int kRecordVectors = 0;  // of 16 bytes
  static constexpr int kAhead = 3;          // stages that gemm_small has in registers where it keeps its ring there: as many as fit without spilling
  struct Scales {};                         // what a lane needs of a stage's records

  __device__ __forceinline__ static Scales scales(const uint4*, const uint4*) { return {}; }
  __device__ __forceinline__ static uint4 fragment(const uint4& stored, const Scales&, int) { return stored; }
};

struct Fp8Codec {
  static constexpr int kVectors = 2, kVectorSteps = 2, kStageRecords = 1, kRecordVectors = 1, kAhead = 3;
  struct Scales {
    float low, high;
  };

  __device__ __forceinline__ static Scales scales(const uint4* record, const uint4*) {
    const float2 both = *reinterpret_cast<const float2*>(record);
    return {both.x, both.y};
  }
  __device__ __forceinline__ static uint4 fragment(const uint4& stored, const Scales& s, int step) {
    const uint32_t low = step % 2 ? stored.z : stored.x, high = step % 2 ? stored.w : stored.y;  // a0 a1, a2 a3
    return {pair(low, 0, s.low), pair(low, 2, s.high), pair(high, 0, s.low), pair(high, 2, s.high)};
  }

 private:
  // The byte's four bits of exponent become the last of a float's eight: 2^-120 times what it means, subnormals too.
  __device__ __forceinline__ static float number(uint32_t word, int byte) {
    return __uint_as_float(static_cast<uint32_t>(static_cast<int32_t>(word << (24 - 8 * byte)) >> 4) & 0x87f00000u);
  }
  __device__ __forceinline__ static uint32_t pair(uint32_t word, int byte, float scale) { return pack_bf16(number(word, byte) * scale, number(word, byte + 1) * scale); }
};

template <bool kZeros>
struct Int4Codec {
  static constexpr int kVectors = 1, kVectorSteps = 4, kStageRecords = 2, kRecordVectors = kZeros ? 4 : 2, kAhead = kZeros ? 6 : 8;
  struct Scales {
    uint32_t scale[2], zero[2];  // of the stage's halves, rows g and g + 8
  };

  __device__ __forceinline__ static Scales scales(const uint4* first, const uint4* second) {
    const int g = threadIdx.x % 32 / 4;
    Scales s{{word(first, g)}, {kZeros ? word(first, 8 + g) : kMiddle}};
    s.scale[1] = s.scale[0];
    s.zero[1] = s.zero[0];
    if (second != first) {
      s.scale[1] = word(second, g);
      if (kZeros) s.zero[1] = word(second, 8 + g);
    }
    return s;
  }
  // 0x4300 | code is 128 + code; both steps from there are exact but for the last rounding.
  __device__ __forceinline__ static uint4 fragment(const uint4& stored, const Scales& s, int step) {
    const uint32_t codes = step == 0 ? stored.x : step == 1 ? stored.y : step == 2 ? stored.z : stored.w;
    const uint32_t scale = s.scale[step / 2], zero = s.zero[step / 2] ^ 0x80008000u;  // negative
    const auto pair = [&](int shift, uint32_t selector) {
      const uint32_t number = (codes >> shift & 0x000f000fu) | 0x43004300u;
      const uint32_t difference = fma2(number, 0x3f803f80u, __byte_perm(zero, 0, selector));
      return fma2(difference, __byte_perm(scale, 0, selector), 0x80008000u);
    };
    constexpr uint32_t kLow = 0x1010, kHigh = 0x3232;
    return {pair(0, kLow), pair(8, kHigh), pair(4, kLow), pair(12, kHigh)};
  }

 private:
  static constexpr uint32_t kMiddle = 0x43084308u;  // 128 + 8

  __device__ __forceinline__ static uint32_t word(const uint4* record, int i) { return reinterpret_cast<const uint32_t*>(record)[i]; }
  // a * b + c on pairs of bf16, rounded once.
  __device__ __forceinline__ static uint32_t fma2(uint32_t a, uint32_t b, uint32_t c) {
    __nv_bfloat162 x, y, z;
    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    memcpy(&z, &c, sizeof z);
    const __nv_bfloat162 result = __hfma2(x, y, z);
    uint32_t bits;
    memcpy(&bits, &result, sizeof bits);
    return bits;
  }
};

// Bytes of a panel's stage and what it reads of records: what a block must bring for it.
template <class Codec>
constexpr int kPanelStageBytes = Codec::kVectors * 32 * 16 + Codec::kStageRecords * Codec::kRecordVectors * 16;

static_assert(kPanelStageBytes<Bf16Codec> == facts_of({}).panel_bytes && kPanelStageBytes<Fp8Codec> == facts_of({.format = WeightFormat::kFp8}).panel_bytes);
static_assert(kPanelStageBytes<Int4Codec<false>> == facts_of({.format = WeightFormat::kInt4}).panel_bytes);
static_assert(kPanelStageBytes<Int4Codec<true>> == facts_of({.format = WeightFormat::kInt4, .zeros = true}).panel_bytes);

// use(Codec()) with that of a type of weights.
template <class Use>
auto with_codec(const WeightType& type, const Use& use) {
  switch (type.format) {
    case WeightFormat::kFp8: return use(Fp8Codec());
    case WeightFormat::kInt4: return type.zeros ? use(Int4Codec<true>()) : use(Int4Codec<false>());
    default: return use(Bf16Codec());
  }
}

// k of a record, as a power of 2. (Of bf16, which has none, any.)
constexpr int record_shift(const WeightType& type) { return type.format != WeightFormat::kInt4 || type.group == 128 ? 7 : type.group == 64 ? 6 : 5; }

// 16-byte vectors of one panel: of its weights, and of its records.
template <class Codec>
__host__ __device__ constexpr int64_t panel_vectors(int64_t k) {
  return stages_of(k) * Codec::kVectors * 32;
}
template <class Codec>
__host__ __device__ constexpr int64_t panel_record_vectors(int64_t k, int shift) {
  return (((stages_of(k) * kStage - 1) >> shift) + 1) * Codec::kRecordVectors;
}

}  // namespace m2::cuda
