// convert.h: cvt_f16x2_e4m3x2.
#include "cuda/ptx/convert.h"

#include <cmath>

#include "../case.h"

namespace m2::test {
namespace {

__global__ void e4m3_kernel(uint32_t* out) { out[threadIdx.x] = ptx::cvt_f16x2_e4m3x2(static_cast<uint16_t>(threadIdx.x | (255 - threadIdx.x) << 8)); }

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

}  // namespace m2::test
