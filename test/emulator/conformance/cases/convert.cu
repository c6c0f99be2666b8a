// convert.h: cvt_f16x2_e4m3x2, cvt_e4m3x2_f32.
#include "cuda/ptx/convert.h"

#include <cmath>
#include <limits>

#include "../case.h"

namespace m2::test {
namespace {

__global__ void e4m3_kernel(uint32_t* out) { out[threadIdx.x] = ptx::cvt_f16x2_e4m3x2(static_cast<uint16_t>(threadIdx.x | (255 - threadIdx.x) << 8)); }

__global__ void f32_kernel(const float* numbers, uint32_t* out) { out[threadIdx.x] = ptx::cvt_e4m3x2_f32(numbers[threadIdx.x], numbers[255 - threadIdx.x]); }

double value_of(uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 3 & 15), mantissa = static_cast<int>(bits & 7);
  const double size = exponent == 0 ? mantissa * 0x1p-9 : std::ldexp(8 + mantissa, exponent - 10);
  return bits & 0x80 ? -size : size;
}

// The nearest of all numbers of e4m3, of two the even one; 448 of what is larger.
uint32_t nearest(float x) {
  if (std::isnan(x)) return 0x7f;
  uint32_t best = 0;
  for (uint32_t bits = 1; bits < 0x7f; bits++) {
    const double off = std::abs(std::abs(double{x}) - value_of(bits)), least = std::abs(std::abs(double{x}) - value_of(best));
    if (off < least || (off == least && bits % 2 == 0)) best = bits;
  }
  return std::isinf(x) ? (x < 0 ? 0xfe : 0x7e) : best | (std::signbit(x) ? 0x80 : 0);
}

// A number of 4 bits of exponent and 3 of mantissa as one of 5 and 10.
uint32_t f16_of(uint32_t bits) {
  const uint32_t sign = bits >> 7 << 15, exponent = bits >> 3 & 15, mantissa = bits & 7;
  if (exponent > 0) return sign | (exponent + 8) << 10 | mantissa << 7;
  if (mantissa == 0) return sign;
  const int top = mantissa >= 4 ? 2 : mantissa >= 2 ? 1 : 0;  // m * 2^-9, which f16 has as a normal number
  return sign | static_cast<uint32_t>(top - 9 + 15) << 10 | (mantissa << (10 - top) & 0x3ff);
}

}  // namespace

// All bytes but those that are NaN, 0x7f and 0xff, and in both places.
CONFORMANCE("cvt.f16x2.e4m3x2", 90) {
  const DeviceArray<uint32_t> got(256);
  run_kernel<e4m3_kernel>({.grid = 1, .block = 256}, got.data());
  std::vector<uint32_t> some, truth;
  for (uint32_t i = 1; i < 255; i++) {
    if (i == 0x7f || i == 0x80) continue;
    some.push_back(got.values()[i]);
    truth.push_back(f16_of(i) | f16_of(255 - i) << 16);
  }
  out.exact("cvt_f16x2_e4m3x2", some, truth);
}

// Numbers of e4m3, those half way between two, near those, beyond all and no numbers; in both places.
CONFORMANCE("cvt.e4m3x2.f32", 90) {
  std::vector<float> numbers;
  for (uint32_t bits = 0; bits < 0x7e; bits += 2) {
    const float number = static_cast<float>(value_of(bits)), half = static_cast<float>((value_of(bits) + value_of(bits + 1)) / 2);
    numbers.insert(numbers.end(), {number, -half, half, std::nextafter(half, 1000.f)});
  }
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  numbers.insert(numbers.end(), {449, -1e30f, kInfinity, std::numeric_limits<float>::quiet_NaN()});
  const DeviceArray<float> from(numbers);
  const DeviceArray<uint32_t> got(256);
  run_kernel<f32_kernel>({.grid = 1, .block = 256}, from.data(), got.data());
  std::vector<uint32_t> truth;
  for (size_t i = 0; i < 256; i++) truth.push_back(nearest(numbers[i]) | nearest(numbers[255 - i]) << 8);
  out.exact("cvt_e4m3x2_f32", got.values(), truth);
}

}  // namespace m2::test
