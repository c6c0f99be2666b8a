// The device language against independent formulas: conversions over all their bit patterns, bit operations, the sizes of vectors.
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cmath>
#include <limits>

#include "../device_test.h"

namespace m2::test {
namespace {

// The nearest number of a format with `mantissa` bits, exponents from `lowest` (of the subnormals' grid) and magnitudes up to `largest`; ties to even.
double nearest(double x, int mantissa, int lowest, double largest, bool saturates) {
  if (x == 0 || std::isnan(x)) return x;
  int exponent;
  std::frexp(x, &exponent);
  const double grid = std::ldexp(1.0, std::max(exponent - 1 - mantissa, lowest));
  const double rounded = std::nearbyint(x / grid) * grid;
  if (std::fabs(rounded) <= largest) return rounded;
  return std::copysign(saturates ? largest : HUGE_VAL, x);
}

template <class Check>
void for_many_floats(Check check) {
  std::mt19937 random(5);
  for (int i = 0; i < 200000; i++) check(__uint_as_float(random()));
  for (float x : {0.0f, -0.0f, 1.0f, 65504.0f, 65520.0f, 65519.9f, 448.0f, 464.0f, 463.0f, 57344.0f, 61440.0f, 0x1p-24f, 0x1p-25f, 0x1.8p-24f, 0x1p-10f, 0x1p-9f,
                  3.4e38f, HUGE_VALF, -HUGE_VALF, std::nanf("")}) {
    check(x);
  }
}

bool same(double a, double b) { return (std::isnan(a) && std::isnan(b)) || (a == b && std::signbit(a) == std::signbit(b)); }

}  // namespace

CASE("language: bf16, f16 and fp8 round to the nearest") {
  for_many_floats([](float x) {
    EXPECT(same(__bfloat162float(__float2bfloat16_rn(x)), nearest(x, 7, -133, 3.3895313892515355e38, false)), x);
    EXPECT(same(__half2float(__float2half_rn(x)), nearest(x, 10, -24, 65504, false)), x);
    EXPECT(same(static_cast<float>(__nv_fp8_e4m3(x)), nearest(x, 3, -9, 448, true)), x);
    EXPECT(same(static_cast<float>(__nv_fp8_e5m2(x)), nearest(x, 2, -16, 57344, true)), x);
  });
}

CASE("language: every number of a narrow format comes back") {
  for (unsigned bits = 0; bits < 65536; bits++) {
    const auto b = __ushort_as_bfloat16(static_cast<unsigned short>(bits));
    const auto h = __ushort_as_half(static_cast<unsigned short>(bits));
    if (!__hisnan(b)) EXPECT(__bfloat16_as_ushort(__float2bfloat16_rn(b)) == bits);
    else EXPECT(__bfloat16_as_ushort(__float2bfloat16_rn(b)) == 0x7fff);
    if (!__hisnan(h)) EXPECT(__half_as_ushort(__float2half_rn(h)) == bits);
  }
  const float expected[] = {0, 0x1p-9f, 0x1p-6f, 1.0f, 448.0f, -1.0f};
  const unsigned char bits[] = {0, 1, 8, 0x38, 0x7e, 0xb8};
  for (int i = 0; i < 6; i++) EXPECT(emulator::e4m3_to_f32(bits[i]) == expected[i]);
}

CASE("language: bf16 fma rounds once") {
  std::mt19937 random(6);
  for (int i = 0; i < 300000; i++) {
    const auto pick = [&] { return __ushort_as_bfloat16(static_cast<unsigned short>((random() & 0x80ff) | ((118 + random() % 20) << 7))); };
    const __nv_bfloat16 a = pick(), b = pick(), c = pick();
    const long double exact = static_cast<long double>(static_cast<float>(a)) * static_cast<float>(b) + static_cast<long double>(static_cast<float>(c));
    int exponent;
    std::frexp(static_cast<double>(exact), &exponent);
    const long double grid = std::ldexp(1.0L, exponent - 8);
    const float want = static_cast<float>(std::nearbyint(exact / grid) * grid);
    EXPECT(static_cast<float>(__hfma(a, b, c)) == want, static_cast<float>(a), " ", static_cast<float>(b), " ", static_cast<float>(c));
  }
}

CASE("language: bit operations") {
  std::mt19937 random(7);
  for (int i = 0; i < 10000; i++) {
    const unsigned a = random(), b = random(), selector = random() & 0xffff;
    unsigned reversed = 0, permuted = 0, clz = 0;
    for (int bit = 0; bit < 32; bit++) reversed |= (a >> bit & 1) << (31 - bit);
    while (clz < 32 && !(a >> (31 - clz) & 1)) clz++;
    for (int byte = 0; byte < 4; byte++) {
      const unsigned nibble = selector >> 4 * byte & 15, source = nibble & 7, value = (source < 4 ? a >> 8 * source : b >> 8 * (source - 4)) & 255;
      permuted |= (nibble & 8 ? (value & 128 ? 255u : 0u) : value) << 8 * byte;
    }
    EXPECT(__brev(a) == reversed);
    EXPECT(static_cast<unsigned>(__clz(static_cast<int>(a))) == clz);
    EXPECT(__byte_perm(a, b, selector) == permuted);
    EXPECT(__funnelshift_l(a, b, 8) == (b << 8 | a >> 24) && __funnelshift_r(a, b, 8) == (b << 24 | a >> 8));
    EXPECT(__umulhi(a, b) == static_cast<unsigned>((static_cast<uint64_t>(a) * b) >> 32));
    EXPECT(__popc(a) == __builtin_popcount(a) && __ffs(0) == 0 && __ffs(8) == 4);
  }
  EXPECT(__clz(0) == 32 && __float2int_rz(1e20f) == std::numeric_limits<int>::max() && __float2int_rn(std::nanf("")) == 0 && __float2int_rn(2.5f) == 2);
  EXPECT(max(-1, 2) == 2 && min(3u, 2u) == 2u && max(1.0f, 2.0f) == 2.0f && min(size_t{3}, size_t{4}) == 3);
}

CASE("language: vectors have CUDA's sizes and alignments") {
  EXPECT(sizeof(float4) == 16 && alignof(float4) == 16 && alignof(float2) == 8 && alignof(float3) == 4 && sizeof(float3) == 12);
  EXPECT(alignof(uchar4) == 4 && alignof(ushort4) == 8 && alignof(longlong2) == 16 && alignof(double2) == 16 && alignof(double4) == 16);
  EXPECT(sizeof(__nv_bfloat162) == 4 && alignof(__nv_bfloat162) == 4 && sizeof(__nv_bfloat16) == 2);
  const dim3 three(2, 3);
  EXPECT(three.x == 2 && three.y == 3 && three.z == 1);
}

}  // namespace m2::test
