// 16 float lanes in one AVX-512 register; bf16 pairs go through vdpbf16ps, which takes two of them per lane. The members are explained in plain.h.
#pragma once
#include "cpu/simd/inline.h"

namespace m2::cpu {

struct Avx512 {
  using F = __m512;
  using I = __m512i;
  using Pairs = __m512i;
  static constexpr const char* kName = "avx512";
  static constexpr int kTileRows = 6, kTileAccumulators = 24, kDotTile = 4, kDotParts = 1;

  M2_INLINE static F zero() { return _mm512_setzero_ps(); }
  M2_INLINE static F set(float x) { return _mm512_set1_ps(x); }
  M2_INLINE static F load(const float* p) { return _mm512_loadu_ps(p); }
  M2_INLINE static F load(const bf16* p) { return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  M2_INLINE static F load(const f16* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  M2_INLINE static F load(const f8* p) {
    const __m512i word = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const __m512i magnitude = _mm512_and_si512(word, _mm512_set1_epi32(0x7f)), sign = _mm512_slli_epi32(_mm512_andnot_si512(_mm512_set1_epi32(0x7f), word), 24);
    const __m512 value = _mm512_mul_ps(_mm512_castsi512_ps(_mm512_slli_epi32(magnitude, 20)), _mm512_set1_ps(0x1p120f));
    const __mmask16 is_nan = _mm512_cmpeq_epi32_mask(magnitude, _mm512_set1_epi32(0x7f));
    return _mm512_castsi512_ps(_mm512_or_si512(sign, _mm512_mask_mov_epi32(_mm512_castps_si512(value), is_nan, _mm512_set1_epi32(0x7fc00000))));
  }
  M2_INLINE static void store(float* p, F x) { _mm512_storeu_ps(p, x); }
  M2_INLINE static void store(bf16* p, F x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), rounded(x)); }
  M2_INLINE static F load_part(const float* p, int n) { return _mm512_maskz_loadu_ps(mask(n), p); }
  M2_INLINE static void store_part(float* p, F x, int n) { _mm512_mask_storeu_ps(p, mask(n), x); }

  M2_INLINE static F add(F a, F b) { return _mm512_add_ps(a, b); }
  M2_INLINE static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  M2_INLINE static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  M2_INLINE static F div(F a, F b) { return _mm512_div_ps(a, b); }
  M2_INLINE static F min(F a, F b) { return _mm512_min_ps(a, b); }
  M2_INLINE static F max(F a, F b) { return _mm512_max_ps(a, b); }
  M2_INLINE static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  M2_INLINE static F round(F x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  M2_INLINE static F power_of_2(F n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
  }
  M2_INLINE static F first(int n, F a, F b) { return _mm512_mask_blend_ps(mask(n), b, a); }
  M2_INLINE static F where_less(F x, F y, F a, F b) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, y, _CMP_LT_OQ), b, a); }
  M2_INLINE static uint32_t greater(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
  M2_INLINE static uint32_t nan(F a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
  M2_INLINE static float sum(F x) {
    const __m256 s = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 t = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    t = _mm_add_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_add_ss(t, _mm_movehdup_ps(t)));
  }
  M2_INLINE static float largest(F x) {
    const __m256 s = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 t = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    t = _mm_max_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_max_ss(t, _mm_movehdup_ps(t)));
  }

  M2_INLINE static I load_words(const void* p) { return _mm512_loadu_si512(p); }
  M2_INLINE static void store_words(void* p, I x) { _mm512_storeu_si512(p, x); }
  // Four steps over halves: words, pairs of words, then the 128-bit quarters.
  M2_INLINE static void transpose(I (&r)[16]) {
    I t[16];
    for (int i = 0; i < 16; i += 2) {
      t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
      t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
      r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
      r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
      r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
      r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
      const I a = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88), b = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
      const I c = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88), d = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
      t[i] = _mm512_shuffle_i32x4(a, c, 0x88);
      t[i + 4] = _mm512_shuffle_i32x4(b, d, 0x88);
      t[i + 8] = _mm512_shuffle_i32x4(a, c, 0xdd);
      t[i + 12] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
    for (int i = 0; i < 16; i++) r[i] = t[i];
  }
  M2_INLINE static F floats(I x) { return _mm512_castsi512_ps(x); }
  M2_INLINE static F low(I x) { return floats(_mm512_slli_epi32(x, 16)); }
  M2_INLINE static F high(I x) { return floats(_mm512_and_si512(x, _mm512_set1_epi32(static_cast<int>(0xffff0000u)))); }

  // A table of what each magnitude becomes, 32 to a register; the sign comes after.
  struct Scale {
    I table[4];
  };
  M2_INLINE static Scale fp8_scale(float scale) {
    alignas(64) bf16 products[128];
    for (int i = 0; i < 128; i += 16) store(products + i, mul(load(kF8Magnitudes.values + i), set(scale)));
    return {{load_words(products), load_words(products + 32), load_words(products + 64), load_words(products + 96)}};
  }
  M2_INLINE static void store_scaled(bf16* to, const f8* from, const Scale& scale) {
    for (int i = 0; i < 64; i += 32) {
      const __m512i index = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i)));
      const __m512i small = _mm512_permutex2var_epi16(scale.table[0], index, scale.table[1]), large = _mm512_permutex2var_epi16(scale.table[2], index, scale.table[3]);
      const __m512i magnitude = _mm512_mask_mov_epi16(small, _mm512_test_epi16_mask(index, _mm512_set1_epi16(0x40)), large);
      constexpr int kOrAnd = 0xf8;  // a | (b & c)
      _mm512_storeu_si512(to + i, _mm512_ternarylogic_epi32(magnitude, _mm512_slli_epi16(index, 8), _mm512_set1_epi16(static_cast<int16_t>(0x8000)), kOrAnd));
    }
  }

  struct Int4Group {
    F scale[2], base[2];
  };
  M2_INLINE static Int4Group int4_group(const bf16* scales, const uint8_t* zeros) {
    const F scale = load(scales), zero = zeros ? _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(zeros)))) : set(kMiddleCode);
    const F base = sub(F{}, mul(zero, scale));
    const I lower = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7), upper = _mm512_add_epi32(lower, _mm512_set1_epi32(8));
    return {{_mm512_permutexvar_ps(lower, scale), _mm512_permutexvar_ps(upper, scale)}, {_mm512_permutexvar_ps(lower, base), _mm512_permutexvar_ps(upper, base)}};
  }
  // A permutation looks at four bits of each word: of the register 0 .. 15 it makes the numbers that codes are.
  M2_INLINE static void store_decoded(bf16* to, const uint8_t* from, const Int4Group& group) {
    const F numbers = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const I words = load_words(from);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      const F low = fma(_mm512_permutexvar_ps(_mm512_srli_epi32(words, 8 * i), numbers), group.scale[0], group.base[0]);
      const F high = fma(_mm512_permutexvar_ps(_mm512_srli_epi32(words, 8 * i + 4), numbers), group.scale[1], group.base[1]);
      _mm512_storeu_si512(to + 32 * i, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
  }

  M2_INLINE static Pairs load_pairs(const bf16* p, int) { return _mm512_loadu_si512(p); }
  M2_INLINE static Pairs broadcast_pair(const bf16* p, int) {
    int word;
    __builtin_memcpy(&word, p, 4);
    return _mm512_set1_epi32(word);
  }
  M2_INLINE static F dot(Pairs a, Pairs b, F sum) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }

 private:
  M2_INLINE static F widen(__m256i halves) { return floats(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16)); }
  M2_INLINE static __m256i rounded(F x) { return (__m256i)_mm512_cvtneps_pbh(x); }
  M2_INLINE static __mmask16 mask(int n) { return static_cast<__mmask16>((1u << n) - 1); }
};

}  // namespace m2::cpu
