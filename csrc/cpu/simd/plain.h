// 16 float lanes without any instruction set of its own: four 16-byte vectors of the compiler, which become SSE2 on x86-64 and NEON on aarch64. Also the
// reference for what the wrappers share; avx2.h and avx512.h have the same members:
//
// F 16 floats | I 16 words of 32 bits | Pairs 16 pairs of bf16, ready for dot.
// min and max return the second operand when one is NaN. load_part and store_part touch the first n lanes (0..16); the rest load as 0.
// sum and largest reduce in one fixed tree, so a value never depends on where it stands in memory.
// kTileRows and kTileAccumulators bound the tiles of matrix products (rows, rows x vectors), kDotTile those of dot products (rows and columns).
#pragma once
#include "cpu/simd/inline.h"

namespace m2::cpu {

struct Plain {
  using Words = uint32_t __attribute__((vector_size(16)));
  using Floats = float __attribute__((vector_size(16)));
  struct F {
    Floats v[4];
  };
  struct I {
    Words v[4];
  };
  using Pairs = F;
  static constexpr const char* kName = "plain";
#if defined(__aarch64__)
  static constexpr int kTileRows = 4, kTileAccumulators = 4, kDotTile = 2;
#else
  static constexpr int kTileRows = 2, kTileAccumulators = 2, kDotTile = 1;
#endif
  static constexpr int kDotParts = 2;

  template <class Op>
  M2_INLINE static F each(Op op) {
    return {{op(0), op(1), op(2), op(3)}};
  }
  template <class To, class From>
  M2_INLINE static To read(const From* p) {
    To to;
    __builtin_memcpy(&to, p, sizeof to);
    return to;
  }
  template <class To, class From>
  M2_INLINE static void write(To* p, const From& from) {
    __builtin_memcpy(p, &from, sizeof from);
  }
  M2_INLINE static Floats splat(float x) { return Floats{x, x, x, x}; }
  M2_INLINE static Words as_words(Floats x) { return (Words)x; }
  M2_INLINE static Floats as_floats(Words x) { return (Floats)x; }
  M2_INLINE static Floats multiply_add(Floats a, Floats b, Floats c) {
#if defined(__aarch64__)
    return (Floats)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
  }
  M2_INLINE static Floats choose(Words mask, Floats a, Floats b) { return (Floats)((mask & (Words)a) | (~mask & (Words)b)); }

  M2_INLINE static F zero() { return set(0); }
  M2_INLINE static F set(float x) { return {{splat(x), splat(x), splat(x), splat(x)}}; }
  M2_INLINE static F load(const float* p) { return read<F>(p); }
  M2_INLINE static F load(const bf16* p) {
    F f;
    for (int i = 0; i < 4; i++) f.v[i] = (Floats)(__builtin_convertvector(read<Halves>(p + 4 * i), Words) << 16);
    return f;
  }
  M2_INLINE static F load(const f16* p) {
    float lanes[16];
    for (int i = 0; i < 16; i++) lanes[i] = half_to_float(read<uint16_t>(p + i));
    return load(lanes);
  }
  M2_INLINE static F load(const f8* p) {
    F f;
    for (int i = 0; i < 4; i++) {
      const Words word = __builtin_convertvector(read<Bytes>(p + 4 * i), Words), magnitude = word & 0x7fu, is_nan = (Words)(magnitude == 0x7fu);
      const Words value = (Words)((Floats)(magnitude << 20) * splat(0x1p120f));
      f.v[i] = (Floats)((word & 0x80u) << 24 | (is_nan & 0x7fc00000u) | (~is_nan & value));
    }
    return f;
  }
  M2_INLINE static void store(float* p, F x) { write(p, x); }
  M2_INLINE static void store(bf16* p, F x) {
    for (int i = 0; i < 4; i++) {
      const Words u = (Words)x.v[i], quiet = (u >> 16) | 0x40u, even = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
      const Words is_nan = (Words)(x.v[i] != x.v[i]);
      write(p + 4 * i, __builtin_convertvector((is_nan & quiet) | (~is_nan & even), Halves));
    }
  }
  M2_INLINE static F load_part(const float* p, int n) {
    float lanes[16] = {};
    for (int i = 0; i < n; i++) lanes[i] = p[i];
    return load(lanes);
  }
  M2_INLINE static void store_part(float* p, F x, int n) {
    float lanes[16];
    store(lanes, x);
    for (int i = 0; i < n; i++) p[i] = lanes[i];
  }

  M2_INLINE static F add(F a, F b) {
    return each([&](int i) M2_INLINE_LAMBDA { return a.v[i] + b.v[i]; });
  }
  M2_INLINE static F sub(F a, F b) {
    return each([&](int i) M2_INLINE_LAMBDA { return a.v[i] - b.v[i]; });
  }
  M2_INLINE static F mul(F a, F b) {
    return each([&](int i) M2_INLINE_LAMBDA { return a.v[i] * b.v[i]; });
  }
  M2_INLINE static F div(F a, F b) {
    return each([&](int i) M2_INLINE_LAMBDA { return a.v[i] / b.v[i]; });
  }
  M2_INLINE static F min(F a, F b) {
    return each([&](int i) M2_INLINE_LAMBDA { return choose((Words)(a.v[i] < b.v[i]), a.v[i], b.v[i]); });
  }
  M2_INLINE static F max(F a, F b) {
    return each([&](int i) M2_INLINE_LAMBDA { return choose((Words)(a.v[i] > b.v[i]), a.v[i], b.v[i]); });
  }
  // a * b + c, rounded once where the machine can
  M2_INLINE static F fma(F a, F b, F c) {
    return each([&](int i) M2_INLINE_LAMBDA { return multiply_add(a.v[i], b.v[i], c.v[i]); });
  }
  // The nearest integer; |x| below 2^22.
  M2_INLINE static F round(F x) {
    const Floats magic = splat(0x1.8p23f);
    return each([&](int i) M2_INLINE_LAMBDA { return (x.v[i] + magic) - magic; });
  }
  // 2^n for integers n in -126..127
  M2_INLINE static F power_of_2(F n) {
    const Floats magic = splat(0x1.8p23f + 127);
    return each([&](int i) M2_INLINE_LAMBDA { return (Floats)((Words)(n.v[i] + magic) << 23); });
  }
  // Lanes below n from a, the others from b.
  M2_INLINE static F first(int n, F a, F b) {
    return each([&](int i) M2_INLINE_LAMBDA {
      const uint32_t k = 4 * i, limit = n;
      return choose((Words)(Words{k, k + 1, k + 2, k + 3} < Words{limit, limit, limit, limit}), a.v[i], b.v[i]);
    });
  }
  M2_INLINE static F where_less(F x, F y, F a, F b) {
    return each([&](int i) M2_INLINE_LAMBDA { return choose((Words)(x.v[i] < y.v[i]), a.v[i], b.v[i]); });
  }
  // Bit i: whether lane i of a is greater than that of b; whether it is a NaN.
  M2_INLINE static uint32_t greater(F a, F b) {
    uint32_t bits = 0;
    for (int i = 0; i < 16; i++) bits |= static_cast<uint32_t>(a.v[i / 4][i % 4] > b.v[i / 4][i % 4]) << i;
    return bits;
  }
  M2_INLINE static uint32_t nan(F a) {
    uint32_t bits = 0;
    for (int i = 0; i < 16; i++) bits |= static_cast<uint32_t>(a.v[i / 4][i % 4] != a.v[i / 4][i % 4]) << i;
    return bits;
  }
  M2_INLINE static float sum(F x) {
    const Floats s = (x.v[0] + x.v[2]) + (x.v[1] + x.v[3]);
    return (s[0] + s[2]) + (s[1] + s[3]);
  }
  M2_INLINE static float largest(F x) {
    const F m = max(max(F{{x.v[0]}}, F{{x.v[1]}}), max(F{{x.v[2]}}, F{{x.v[3]}}));
    float l = m.v[0][0];
    for (int i = 1; i < 4; i++) l = m.v[0][i] > l ? m.v[0][i] : l;
    return l;
  }

  // Words: one of 16 rows each; transpose makes word i of row j word j of row i.
  M2_INLINE static I load_words(const void* p) { return read<I>(static_cast<const char*>(p)); }
  M2_INLINE static void store_words(void* p, I x) { write(static_cast<char*>(p), x); }
  M2_INLINE static void transpose(I (&rows)[16]) {
    uint32_t words[16][16];
    for (int j = 0; j < 16; j++) {
      for (int i = 0; i < 16; i++) words[i][j] = rows[j].v[i / 4][i % 4];
    }
    for (int i = 0; i < 16; i++) rows[i] = load_words(words[i]);
  }
  M2_INLINE static F floats(I x) {
    return each([&](int i) M2_INLINE_LAMBDA { return (Floats)x.v[i]; });
  }
  // The first and the second bf16 of each word.
  M2_INLINE static F low(I x) {
    return each([&](int i) M2_INLINE_LAMBDA { return (Floats)(x.v[i] << 16); });
  }
  M2_INLINE static F high(I x) {
    return each([&](int i) M2_INLINE_LAMBDA { return (Floats)(x.v[i] & 0xffff0000u); });
  }

  // 64 numbers of f8 times a scale, as bf16.
  using Scale = F;
  M2_INLINE static Scale fp8_scale(float scale) { return set(scale); }
  M2_INLINE static void store_scaled(bf16* to, const f8* from, Scale scale) {
    for (int i = 0; i < 64; i += 16) store(to + i, mul(load(from + i), scale));
  }

  // 128 codes of int4, 16 outputs times four pairs of k as weights.cc has them: their bf16s, in the order of pairs. A group: what the outputs have, each twice,
  // as it stands in the two vectors of a pair; base = -zero * scale. (code - zero) * scale has 13 bits, so code * scale + base is just that.
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
    for (int i = 0; i < 8; i++) {
      const F codes = each([&](int j) M2_INLINE_LAMBDA { return __builtin_convertvector((Ints)(words.v[j] >> 4 * i & 15u), Floats); });
      store(to + 16 * i, fma(codes, group.scale[i % 2], group.base[i % 2]));
    }
  }

  // Dot products of bf16 pairs, in kDotParts steps one after the other: dot adds a part's products to sum.
  M2_INLINE static Pairs load_pairs(const bf16* p, int part) { return part == 0 ? low(load_words(p)) : high(load_words(p)); }
  M2_INLINE static Pairs broadcast_pair(const bf16* p, int part) {
    const uint32_t word = read<uint32_t>(p), half = part == 0 ? word << 16 : word & 0xffff0000u;
    const Floats all = (Floats)Words{half, half, half, half};
    return {{all, all, all, all}};
  }
  M2_INLINE static F dot(Pairs a, Pairs b, F sum) { return fma(a, b, sum); }

 private:
  using Halves = uint16_t __attribute__((vector_size(8)));
  using Bytes = uint8_t __attribute__((vector_size(4)));
  using Ints = int32_t __attribute__((vector_size(16)));
  // As to_f32(f16) of core/dtype.h.
  M2_INLINE static float half_to_float(uint16_t bits) { return to_f32(f16{bits}); }
};

}  // namespace m2::cpu
