// Matrices of the matrix units' element types, made and multiplied on the host, and the fragments that a warp's registers hold.
#pragma once
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace m2::test {

// Floats of few bits, without what the format says about infinities and NaN, which no input here is.
template <int kExponentBits, int kMantissaBits>
struct NarrowFloat {
  static constexpr int kBits = 1 + kExponentBits + kMantissaBits, kBias = (1 << (kExponentBits - 1)) - 1;

  static double value(uint32_t bits) {
    const int exponent = static_cast<int>(bits >> kMantissaBits & ((1u << kExponentBits) - 1)), mantissa = static_cast<int>(bits & ((1u << kMantissaBits) - 1));
    const double magnitude = exponent == 0 ? std::ldexp(mantissa, 1 - kBias - kMantissaBits)
                                           : std::ldexp(mantissa + (1 << kMantissaBits), exponent - kBias - kMantissaBits);
    return bits >> (kBits - 1) ? -magnitude : magnitude;
  }
  // Of a normal value that the format has, or zero.
  static uint32_t bits(double value) {
    if (value == 0) return 0;
    int exponent;
    const double mantissa = std::frexp(std::abs(value), &exponent);
    return (value < 0 ? 1u << (kBits - 1) : 0u) | static_cast<uint32_t>(exponent - 1 + kBias) << kMantissaBits |
           static_cast<uint32_t>(std::ldexp(2 * mantissa - 1, kMantissaBits));
  }
  // Any sign and mantissa, of magnitudes from 1/16 to 4.
  static uint32_t random(std::mt19937& random) {
    const uint32_t exponent = static_cast<uint32_t>(kBias) - 4 + random() % 6;
    return (random() & 1) << (kBits - 1) | exponent << kMantissaBits | (random() & ((1u << kMantissaBits) - 1));
  }
};
struct Bf16 : NarrowFloat<8, 7> {};
struct F16 : NarrowFloat<5, 10> {};
struct E4m3 : NarrowFloat<4, 3> {};
struct S8 {
  static constexpr int kBits = 8;
  static double value(uint32_t bits) { return static_cast<int8_t>(bits); }
  static uint32_t bits(double value) { return static_cast<uint8_t>(static_cast<int>(value)); }
  static uint32_t random(std::mt19937& random) { return random() & 255; }
};

// rows x depth: a row-major, or b column-major with its columns as rows.
template <class Element>
struct Matrix {
  int rows, depth;
  std::vector<uint32_t> bits;

  Matrix(int rows, int depth) : rows(rows), depth(depth), bits(static_cast<size_t>(rows) * static_cast<size_t>(depth)) {}
  uint32_t& at(int row, int k) { return bits[static_cast<size_t>(row * depth + k)]; }
  uint32_t at(int row, int k) const { return bits[static_cast<size_t>(row * depth + k)]; }
  std::vector<double> values() const {
    std::vector<double> all;
    for (uint32_t x : bits) all.push_back(Element::value(x));
    return all;
  }

  // -2 .. 2: their sums are exact in every format's accumulator.
  static Matrix integers(int rows, int depth, unsigned seed) {
    Matrix m(rows, depth);
    std::mt19937 random(seed);
    for (uint32_t& x : m.bits) x = Element::bits(static_cast<int>(random() % 5) - 2);
    return m;
  }
  static Matrix random(int rows, int depth, unsigned seed) {
    Matrix m(rows, depth);
    std::mt19937 random(seed);
    for (uint32_t& x : m.bits) x = Element::random(random);
    return m;
  }
  // The register of a fragment whose first element is (row, k).
  uint32_t packed(int row, int k) const {
    uint32_t word = 0;
    for (int e = 0; e < 32 / Element::kBits; e++) word |= at(row, k + e) << Element::kBits * e;
    return word;
  }
};

// Sums of products, and of their magnitudes, which bound what a sum can be wrong by; [row of a][row of b]. `sums` holds what is added to.
struct Sums {
  std::vector<double> sums, magnitudes;
};
template <class Element>
Sums multiply(const Matrix<Element>& a, const Matrix<Element>& b, const std::vector<double>& sums) {
  const std::vector<double> va = a.values(), vb = b.values();
  Sums result{sums, {}};
  for (size_t i = 0; i < sums.size(); i++) {
    const double* x = &va[i / static_cast<size_t>(b.rows) * static_cast<size_t>(a.depth)];
    const double* y = &vb[i % static_cast<size_t>(b.rows) * static_cast<size_t>(a.depth)];
    double magnitude = std::abs(sums[i]);
    for (int k = 0; k < a.depth; k++) {
      result.sums[i] += x[k] * y[k];
      magnitude += std::abs(x[k] * y[k]);
    }
    result.magnitudes.push_back(magnitude);
  }
  return result;
}

// A fragment of a: 16 rows from `row` on, 32 bytes of k from `k` on; [lane][register]. With g = lane / 4, t = lane % 4 register r holds row g + 8 (r & 1),
// from k = P t + (r >> 1) 4 P on, P elements per register.
template <class Element>
std::vector<uint32_t> fragment_a(const Matrix<Element>& a, int row = 0, int k = 0) {
  constexpr int kPerRegister = 32 / Element::kBits;
  std::vector<uint32_t> words;
  for (int lane = 0; lane < 32; lane++) {
    for (int r = 0; r < 4; r++) words.push_back(a.packed(row + lane / 4 + 8 * (r & 1), k + kPerRegister * (lane % 4) + (r >> 1) * 4 * kPerRegister));
  }
  return words;
}

}  // namespace m2::test
