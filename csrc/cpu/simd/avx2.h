// 16 float lanes in two AVX2 registers; a pair of bf16 is two FMAs, first of the low halves shifted up, then of the high halves masked. The members are
// explained in plain.h.
#pragma once
#include "cpu/simd/inline.h"

namespace m2::cpu {

struct Avx2 {
  struct F {
    __m256 v[2];
  };
  struct I {
    __m256i v[2];
  };
  using Pairs = F;
  static constexpr const char* kName = "avx2";
  static constexpr int kTileRows = 4, kTileAccumulators = 4, kDotTile = 2, kDotParts = 2;

  M2_INLINE static F zero() { return set(0); }
  M2_INLINE static F set(float x) { return {{_mm256_set1_ps(x), _mm256_set1_ps(x)}}; }
  M2_INLINE static F load(const float* p) { return {{_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}}; }
  M2_INLINE static F load(const bf16* p) { return {{widen(p), widen(p + 8)}}; }
  M2_INLINE static F load(const f16* p) { return {{_mm256_cvtph_ps(load_8(p)), _mm256_cvtph_ps(load_8(p + 8))}}; }
  M2_INLINE static F load(const f8* p) { return {{widen(p), widen(p + 8)}}; }
  M2_INLINE static void store(float* p, F x) {
    _mm256_storeu_ps(p, x.v[0]);
    _mm256_storeu_ps(p + 8, x.v[1]);
  }
  M2_INLINE static void store(bf16* p, F x) {
    const __m256i packed = _mm256_packus_epi32(rounded(x.v[0]), rounded(x.v[1]));  // within 128-bit halves
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xd8));
  }
  M2_INLINE static F load_part(const float* p, int n) { return {{_mm256_maskload_ps(p, mask(n)), _mm256_maskload_ps(p + 8, mask(n - 8))}}; }
  M2_INLINE static void store_part(float* p, F x, int n) {
    _mm256_maskstore_ps(p, mask(n), x.v[0]);
    _mm256_maskstore_ps(p + 8, mask(n - 8), x.v[1]);
  }

  M2_INLINE static F add(F a, F b) { return {{_mm256_add_ps(a.v[0], b.v[0]), _mm256_add_ps(a.v[1], b.v[1])}}; }
  M2_INLINE static F sub(F a, F b) { return {{_mm256_sub_ps(a.v[0], b.v[0]), _mm256_sub_ps(a.v[1], b.v[1])}}; }
  M2_INLINE static F mul(F a, F b) { return {{_mm256_mul_ps(a.v[0], b.v[0]), _mm256_mul_ps(a.v[1], b.v[1])}}; }
  M2_INLINE static F div(F a, F b) { return {{_mm256_div_ps(a.v[0], b.v[0]), _mm256_div_ps(a.v[1], b.v[1])}}; }
  M2_INLINE static F min(F a, F b) { return {{_mm256_min_ps(a.v[0], b.v[0]), _mm256_min_ps(a.v[1], b.v[1])}}; }
  M2_INLINE static F max(F a, F b) { return {{_mm256_max_ps(a.v[0], b.v[0]), _mm256_max_ps(a.v[1], b.v[1])}}; }
  M2_INLINE static F fma(F a, F b, F c) { return {{_mm256_fmadd_ps(a.v[0], b.v[0], c.v[0]), _mm256_fmadd_ps(a.v[1], b.v[1], c.v[1])}}; }
  M2_INLINE static F round(F x) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {{_mm256_round_ps(x.v[0], kNearest), _mm256_round_ps(x.v[1], kNearest)}};
  }
  M2_INLINE static F power_of_2(F n) { return {{power_of_2(n.v[0]), power_of_2(n.v[1])}}; }
  M2_INLINE static F first(int n, F a, F b) {
    return {{_mm256_blendv_ps(b.v[0], a.v[0], _mm256_castsi256_ps(mask(n))), _mm256_blendv_ps(b.v[1], a.v[1], _mm256_castsi256_ps(mask(n - 8)))}};
  }
  M2_INLINE static F where_less(F x, F y, F a, F b) {
    return {{_mm256_blendv_ps(b.v[0], a.v[0], _mm256_cmp_ps(x.v[0], y.v[0], _CMP_LT_OQ)),
             _mm256_blendv_ps(b.v[1], a.v[1], _mm256_cmp_ps(x.v[1], y.v[1], _CMP_LT_OQ))}};
  }
  M2_INLINE static uint32_t greater(F a, F b) {
    return bits(_mm256_cmp_ps(a.v[0], b.v[0], _CMP_GT_OQ)) | bits(_mm256_cmp_ps(a.v[1], b.v[1], _CMP_GT_OQ)) << 8;
  }
  M2_INLINE static uint32_t nan(F a) {
    return bits(_mm256_cmp_ps(a.v[0], a.v[0], _CMP_UNORD_Q)) | bits(_mm256_cmp_ps(a.v[1], a.v[1], _CMP_UNORD_Q)) << 8;
  }
  M2_INLINE static float sum(F x) {
    const __m256 s = _mm256_add_ps(x.v[0], x.v[1]);
    __m128 t = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    t = _mm_add_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_add_ss(t, _mm_movehdup_ps(t)));
  }
  M2_INLINE static float largest(F x) {
    const __m256 s = _mm256_max_ps(x.v[0], x.v[1]);
    __m128 t = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    t = _mm_max_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_max_ss(t, _mm_movehdup_ps(t)));
  }

  M2_INLINE static I load_words(const void* p) {
    const __m256i* words = static_cast<const __m256i*>(p);
    return {{_mm256_loadu_si256(words), _mm256_loadu_si256(words + 1)}};
  }
  M2_INLINE static void store_words(void* p, I x) {
    __m256i* words = static_cast<__m256i*>(p);
    _mm256_storeu_si256(words, x.v[0]);
    _mm256_storeu_si256(words + 1, x.v[1]);
  }
  // Four blocks of 8 x 8 words; the two off the diagonal change places.
  M2_INLINE static void transpose(I (&r)[16]) {
    for (int rows = 0; rows < 16; rows += 8) {
      for (int half = 0; half < 2; half++) transpose_8(&r[rows], half);
    }
    for (int i = 0; i < 8; i++) {
      const __m256i above = r[i].v[1];
      r[i].v[1] = r[i + 8].v[0];
      r[i + 8].v[0] = above;
    }
  }
  M2_INLINE static F floats(I x) { return {{_mm256_castsi256_ps(x.v[0]), _mm256_castsi256_ps(x.v[1])}}; }
  M2_INLINE static F low(I x) { return {{low(x.v[0]), low(x.v[1])}}; }
  M2_INLINE static F high(I x) { return {{high(x.v[0]), high(x.v[1])}}; }

  using Scale = F;
  M2_INLINE static Scale fp8_scale(float scale) { return set(scale); }
  M2_INLINE static void store_scaled(bf16* to, const f8* from, Scale scale) {
    for (int i = 0; i < 64; i += 16) store(to + i, mul(load(from + i), scale));
  }

  struct Int4Group {
    F scale[2], base[2];
  };
  M2_INLINE static Int4Group int4_group(const bf16* scales, const uint8_t* zeros) {
    float scale[32], base[32];
    for (int i = 0; i < 32; i++) scale[i] = to_f32(scales[i / 2]), base[i] = -scale[i] * static_cast<float>(zeros ? zeros[i / 2] : kMiddleCode);
    return {{load(scale), load(scale + 16)}, {load(base), load(base + 16)}};
  }
  M2_INLINE static void store_decoded(bf16* to, const uint8_t* from, const Int4Group& group) {
    const I words = load_words(from);
    for (int i = 0; i < 8; i++) store(to + 16 * i, fma({{codes(words.v[0], i), codes(words.v[1], i)}}, group.scale[i % 2], group.base[i % 2]));
  }

  M2_INLINE static Pairs load_pairs(const bf16* p, int part) {
    const I words = load_words(p);
    return part == 0 ? low(words) : high(words);
  }
  M2_INLINE static Pairs broadcast_pair(const bf16* p, int part) {
    int word;
    __builtin_memcpy(&word, p, 4);
    const __m256i all = _mm256_set1_epi32(word);
    const __m256 half = part == 0 ? low(all) : high(all);
    return {{half, half}};
  }
  M2_INLINE static F dot(Pairs a, Pairs b, F sum) { return fma(a, b, sum); }

 private:
  M2_INLINE static __m256 codes(__m256i word, int i) { return _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32(word, 4 * i), _mm256_set1_epi32(15))); }
  M2_INLINE static __m128i load_8(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
  M2_INLINE static __m256 widen(const bf16* p) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_8(p)), 16)); }
  M2_INLINE static __m256 widen(const f8* p) {
    const __m256i word = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    const __m256i magnitude = _mm256_and_si256(word, _mm256_set1_epi32(0x7f)), sign = _mm256_slli_epi32(_mm256_andnot_si256(_mm256_set1_epi32(0x7f), word), 24);
    const __m256 value = _mm256_mul_ps(_mm256_castsi256_ps(_mm256_slli_epi32(magnitude, 20)), _mm256_set1_ps(0x1p120f));
    const __m256i is_nan = _mm256_cmpeq_epi32(magnitude, _mm256_set1_epi32(0x7f));
    const __m256i bits = _mm256_blendv_epi8(_mm256_castps_si256(value), _mm256_set1_epi32(0x7fc00000), is_nan);
    return _mm256_castsi256_ps(_mm256_or_si256(sign, bits));
  }
  M2_INLINE static __m256 low(__m256i words) { return _mm256_castsi256_ps(_mm256_slli_epi32(words, 16)); }
  M2_INLINE static __m256 high(__m256i words) {
    return _mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  M2_INLINE static uint32_t bits(__m256 mask) { return static_cast<uint32_t>(_mm256_movemask_ps(mask)); }
  M2_INLINE static __m256i mask(int n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
  M2_INLINE static __m256 power_of_2(__m256 n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
  }
  // The bf16 of each float, in a word: to the nearest even; NaN stays NaN.
  M2_INLINE static __m256i rounded(__m256 x) {
    const __m256i u = _mm256_castps_si256(x), top = _mm256_srli_epi32(u, 16);
    const __m256i odd = _mm256_and_si256(top, _mm256_set1_epi32(1));
    const __m256i even = _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd), 16);
    const __m256i quiet = _mm256_or_si256(top, _mm256_set1_epi32(0x40));
    return _mm256_blendv_epi8(even, quiet, _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
  }
  M2_INLINE static void transpose_8(I* r, int half) {
    __m256i t[8], u[8];
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm256_unpacklo_epi32(r[i].v[half], r[i + 1].v[half]);
      t[i + 1] = _mm256_unpackhi_epi32(r[i].v[half], r[i + 1].v[half]);
    }
    for (int i = 0; i < 8; i += 4) {
      u[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
      u[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
      u[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
      u[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
      r[i].v[half] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x20);
      r[i + 4].v[half] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x31);
    }
  }
};

}  // namespace m2::cpu
