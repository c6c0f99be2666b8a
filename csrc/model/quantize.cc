// The search for a group's scale. For codes c of weights x the best scale is sum(x c) / sum(c c), and with it the squared error is
// sum(x x) - sum(x c)^2 / sum(c c): so each step that is tried costs two sums, and counts as if its scale had been fitted already. Codes are tried for
// steps from absmax / 7, which clips nothing, down to absmax / 14, with the larger half on either side. The best is then rounded to bf16, fitted again
// to the codes that it gives, and compared with plain absmax / 7 by the error of the weights as they are read back.
#include "model/quantize.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "core/error.h"

// One function, compiled for three instruction sets, of which the first that the machine has is taken. Lanes, sums and rounding are the same in each.
// Sanitizers do not bear the resolver, which runs before they do.
#if defined(__x86_64__) && defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define M2_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define M2_CLONES
#endif
#define M2_INLINE __attribute__((always_inline)) inline

namespace m2 {
namespace {

// 64 bytes each, and what they become when float64 takes the place of float32.
typedef float Floats __attribute__((vector_size(64)));
typedef double Doubles __attribute__((vector_size(64)));
typedef float HalfFloats __attribute__((vector_size(32)));
typedef uint32_t HalfWords __attribute__((vector_size(32)));
typedef int32_t HalfInts __attribute__((vector_size(32)));
constexpr int kHalf = 8;  // of them and of Doubles: lanes

// absmax / step. Closer together where the best of most groups lies: 128 normal numbers want about 8.
constexpr std::array<float, 16> kSpans = {7.0f, 7.3f, 7.6f, 7.8f, 8.0f, 8.25f, 8.5f, 8.75f, 9.0f, 9.4f, 9.8f, 10.3f, 10.9f, 11.6f, 12.6f, 14.0f};
constexpr int kFits = 1;  // of the best scale to its codes

struct Group {
  alignas(64) float weights[kInt4Group];  // zeros behind a shorter group, which change no sum
  float lowest, highest, absmax;  // a NaN or an infinity among the weights makes absmax infinite
  double squares;                 // sum(x x)
};

// A scale, what its codes are, and what they lose.
struct Coded {
  double scale = 0, error = 0;
  double fitted = 0;  // the best scale for these codes, before it is rounded
  alignas(64) int32_t codes[kInt4Group];
};

template <class To, class From>
M2_INLINE void same_bits(const From& from, To& to) {
  static_assert(sizeof from == sizeof to);
  __builtin_memcpy(&to, &from, sizeof to);
}

template <class T, class V>
M2_INLINE T sum(const V& lanes) {
  constexpr int kWidth = sizeof(V) / sizeof(T);
  T s[kWidth];
  same_bits(lanes, s);
  for (int width = kWidth / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++) s[i] += s[i + width];
  return s[0];
}

// Written so that each bound is one instruction. By reference, since vectors that are returned have another ABI in each instruction set.
template <class V, class T>
M2_INLINE void clamp(const V& v, T low, T high, V& to) {
  const V lows = V{} + low, highs = V{} + high, below = v < highs ? v : highs;
  to = below > lows ? below : lows;
}

// The scale, for weights times `unit`, that promises the smallest error.
M2_INLINE double best_scale(const Group& group, float unit) {
  constexpr float kRound = 0x1.8p23f;  // added and taken away: the nearest integer, ties to even
  float best = 0, scale = 0;
  const auto consider = [&](float with_code, float of_code) {
    const float gain = with_code * with_code / of_code;
    if (!(gain > best)) return;  // also where all codes are 0
    best = gain;
    scale = with_code / of_code;
  };
  constexpr int kVectors = kInt4Group * sizeof(float) / sizeof(Floats);
  Floats x[kVectors];
  __builtin_memcpy(x, group.weights, sizeof x);
  for (Floats& v : x) v *= unit;
  for (const float span : kSpans) {
    const float inverse = span / (group.absmax * unit);
    Floats low_x{}, low_c{}, high_x{}, high_c{};  // codes from -8 to 7, and from -7 to 8: those of a negative scale, negated
    for (const Floats& v : x) {
      const Floats c = (v * inverse + kRound) - kRound;
      Floats low, high;
      clamp(c, -8.0f, 7.0f, low);
      clamp(c, -7.0f, 8.0f, high);
      low_x += v * low;
      low_c += low * low;
      high_x += v * high;
      high_c += high * high;
    }
    consider(sum<float>(low_x), sum<float>(low_c));
    consider(-sum<float>(high_x), sum<float>(high_c));
  }
  return static_cast<double>(scale) / unit;
}

// In float64, which holds every product and square of what bf16 and f32 hold, the smallest included.
M2_INLINE void code(const Group& group, double wanted, Coded& to) {
  constexpr double kRound = 0x1.8p52;
  const double scale = to_f32(to_bf16(static_cast<float>(wanted)));
  to.scale = to.fitted = scale;
  if (scale == 0) {
    to.error = group.squares;
    for (int32_t& c : to.codes) c = 8;
    return;
  }
  const double inverse = 1 / scale;
  Doubles error{}, with_code{}, of_code{};
  for (int i = 0; i < kInt4Group; i += kHalf) {
    HalfFloats weights;
    __builtin_memcpy(&weights, group.weights + i, sizeof weights);
    const Doubles x = __builtin_convertvector(weights, Doubles), u = x * inverse;
    Doubles c;
    clamp(u, -8.0, 7.0, c);
    c = (c + kRound) - kRound;
    HalfWords bits;
    same_bits(__builtin_convertvector(c * scale, HalfFloats), bits);
    bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;  // to_bf16
    HalfFloats stored;
    same_bits(bits, stored);
    const Doubles off = x - __builtin_convertvector(stored, Doubles);
    error += off * off;
    with_code += x * c;
    of_code += c * c;
    const HalfInts codes = __builtin_convertvector(c + 8.0, HalfInts);
    __builtin_memcpy(to.codes + i, &codes, sizeof codes);
  }
  to.error = sum<double>(error);
  const double squares = sum<double>(of_code);
  if (squares > 0) to.fitted = sum<double>(with_code) / squares;
}

// A power of two that brings absmax to where float32 holds the squares and sums of a search.
float unit_of(float absmax) { return std::ldexp(1.0f, std::clamp(-std::ilogb(absmax), -126, 127)); }

M2_INLINE void measure(Group& group) {
  HalfFloats low{}, high{};
  HalfInts size{};
  Doubles squares{};
  for (int i = 0; i < kInt4Group; i += kHalf) {
    HalfFloats v;
    __builtin_memcpy(&v, group.weights + i, sizeof v);
    HalfInts bits;
    same_bits(v, bits);
    bits &= 0x7fffffff;
    size = size > bits ? size : bits;
    low = v < low ? v : low;
    high = v > high ? v : high;
    const Doubles x = __builtin_convertvector(v, Doubles);
    squares += x * x;
  }
  group.lowest = group.highest = group.absmax = 0;
  for (int i = 0; i < kHalf; i++) {
    group.lowest = low[i] < group.lowest ? low[i] : group.lowest;
    group.highest = high[i] > group.highest ? high[i] : group.highest;
    const float magnitude = size[i] < 0x7f800000 ? std::bit_cast<float>(size[i]) : std::numeric_limits<float>::infinity();
    group.absmax = magnitude > group.absmax ? magnitude : group.absmax;
  }
  group.squares = sum<double>(squares);
}

// False when a weight is not finite.
M2_CLONES bool quantize_group(Group& group, Coded& best) {
  measure(group);
  if (std::isinf(group.absmax)) return false;
  code(group, 0, best);
  if (group.absmax == 0) return true;
  Coded trial;
  code(group, static_cast<double>(group.absmax) / 7, trial);
  if (trial.error < best.error) best = trial;
  double scale = best_scale(group, unit_of(group.absmax));
  for (int i = 0; i <= kFits; i++) {
    code(group, scale, trial);
    if (trial.error < best.error) best = trial;
    scale = trial.fitted;
  }
  return true;
}

bool is_clipped(const Group& group, double scale) {
  if (scale == 0) return false;
  const double a = group.lowest / scale, b = group.highest / scale;
  return std::max(a, b) > 7.5 || std::min(a, b) < -8.5;
}

}  // namespace

int64_t quantize_int4(const float* rows, int64_t n, int64_t k, uint8_t* nibbles, bf16* scales, Int4Error& error) {
  expect(k > 0 && k % 2 == 0, "int4 takes an even k, found ", k);
  Group group;
  Coded best;
  for (int64_t row = 0; row < n; row++) {
    for (int64_t first = 0; first < k; first += kInt4Group) {
      const int64_t count = std::min(kInt4Group, k - first);
      std::copy_n(rows + row * k + first, count, group.weights);
      std::fill(group.weights + count, group.weights + kInt4Group, 0.0f);
      if (!quantize_group(group, best)) return row;
      *scales++ = to_bf16(static_cast<float>(best.scale));
      for (int64_t i = 0; i < count; i += 2) *nibbles++ = static_cast<uint8_t>(best.codes[i] | best.codes[i + 1] << 4);
      error.add({best.error, group.squares, 1, is_clipped(group, best.scale)});
    }
  }
  return -1;
}

}  // namespace m2
