// Bits of bf16, f16, e4m3 and e5m2 to float32 and back, as the hardware converts: to the nearest, ties to even; a NaN becomes the canonical one. The
// 8-bit types saturate to their largest finite value, as cvt.rn.satfinite does.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

namespace m2::emulator {

template <class To, class From>
inline To bit_copy(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

inline float bf16_to_f32(uint16_t bits) { return bit_copy<float>(static_cast<uint32_t>(bits) << 16); }

inline uint16_t f32_to_bf16(float f) {
  const uint32_t u = bit_copy<uint32_t>(f);
  if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}

// A float of `exponent_bits` and `mantissa_bits`, subnormals included. With infinities (f16, e5m2) the largest exponent is theirs.
template <int kExponentBits, int kMantissaBits>
inline float narrow_to_f32(uint32_t bits) {
  constexpr int kBias = (1 << (kExponentBits - 1)) - 1;
  const uint32_t sign = bits >> (kExponentBits + kMantissaBits) & 1, mantissa = bits & ((1u << kMantissaBits) - 1);
  const int exponent = static_cast<int>(bits >> kMantissaBits & ((1u << kExponentBits) - 1));
  const float value = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), 1 - kBias - kMantissaBits)
                                    : std::ldexp(static_cast<float>(mantissa + (1u << kMantissaBits)), exponent - kBias - kMantissaBits);
  return sign ? -value : value;
}

// The magnitude rounded to the format's grid; what is past its largest exponent comes out as bits past those of the largest finite number.
template <int kExponentBits, int kMantissaBits>
inline uint32_t f32_to_narrow(float magnitude) {
  constexpr int kBias = (1 << (kExponentBits - 1)) - 1;
  if (magnitude == 0) return 0;  // which has no exponent
  int exponent;
  std::frexp(magnitude, &exponent);  // magnitude = m * 2^exponent, m in [0.5, 1)
  const int grid = (exponent - 1 < 1 - kBias ? 1 - kBias : exponent - 1) - kMantissaBits;
  const uint32_t steps = static_cast<uint32_t>(std::nearbyint(std::ldexp(magnitude, -grid)));
  if (grid == 1 - kBias - kMantissaBits) return steps;  // subnormal, or the first normal binade
  return steps + (static_cast<uint32_t>(grid + kMantissaBits + kBias - 1) << kMantissaBits);
}

// The bits moved to their place in a float32, whose exponent is then 112 too small; the product puts that right, for subnormals too.
inline float f16_to_f32(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16, magnitude = static_cast<uint32_t>(bits & 0x7fff) << 13;
  const float value = magnitude >= 0x0f800000u ? bit_copy<float>(magnitude | 0x7f800000u) : bit_copy<float>(magnitude) * 0x1p112f;
  return bit_copy<float>(bit_copy<uint32_t>(value) | sign);
}

inline uint16_t f32_to_f16(float f) {
  if (std::isnan(f)) return 0x7fff;
  const uint16_t sign = std::signbit(f) ? 0x8000 : 0;
  if (std::fabs(f) >= 65520.0f) return sign | 0x7c00;
  return sign | static_cast<uint16_t>(f32_to_narrow<5, 10>(std::fabs(f)));
}

inline float e4m3_to_f32(uint8_t bits) { return (bits & 0x7f) == 0x7f ? std::nanf("") : narrow_to_f32<4, 3>(bits); }

inline uint8_t f32_to_e4m3(float f) {
  if (std::isnan(f)) return 0x7f;
  const uint8_t sign = std::signbit(f) ? 0x80 : 0;
  const uint32_t bits = std::fabs(f) >= 448.0f ? 0x7e : f32_to_narrow<4, 3>(std::fabs(f));
  return sign | static_cast<uint8_t>(bits);
}

inline float e5m2_to_f32(uint8_t bits) {
  if ((bits & 0x7f) > 0x7c) return std::nanf("");
  if ((bits & 0x7f) == 0x7c) return bits & 0x80 ? -HUGE_VALF : HUGE_VALF;
  return narrow_to_f32<5, 2>(bits);
}

inline uint8_t f32_to_e5m2(float f) {
  if (std::isnan(f)) return 0x7f;
  const uint8_t sign = std::signbit(f) ? 0x80 : 0;
  const uint32_t bits = std::fabs(f) >= 57344.0f ? 0x7b : f32_to_narrow<5, 2>(std::fabs(f));
  return sign | static_cast<uint8_t>(bits);
}

}  // namespace m2::emulator
