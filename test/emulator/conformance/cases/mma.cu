// mma.h: mma_bf16, mma_f16, mma_s8, mma_e4m3.
#include "cuda/ptx/mma.h"

#include "../case.h"
#include "../numbers.h"

namespace m2::test {
namespace {

template <class Product>
__global__ void mma_kernel(typename Product::Sum* d, const uint32_t* a, const uint32_t* b) {
  const int lane = threadIdx.x;
  typename Product::Sum sums[4];
  uint32_t fa[4], fb[2];
  for (int r = 0; r < 4; r++) sums[r] = d[lane * 4 + r];
  for (int r = 0; r < 4; r++) fa[r] = a[lane * 4 + r];
  for (int r = 0; r < 2; r++) fb[r] = b[lane * 2 + r];
  Product::multiply(sums, fa, fb);
  for (int r = 0; r < 4; r++) d[lane * 4 + r] = sums[r];
}

struct ProductBf16 {
  using Element = Bf16;
  using Sum = float;
  static constexpr double kTolerance = 0x1p-19, kCoarse = 0x1p-12;
  static __device__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { ptx::mma_bf16(d, a, b); }
};
struct ProductF16 : ProductBf16 {
  using Element = F16;
  static __device__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { ptx::mma_f16(d, a, b); }
};
struct ProductS8 {
  using Element = S8;
  using Sum = int;
  static __device__ void multiply(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { ptx::mma_s8(d, a, b); }
};
// Sums of 8-bit floats keep as few as 13 bits of the largest term.
struct ProductE4m3 {
  using Element = E4m3;
  using Sum = float;
  static constexpr double kTolerance = 0x1p-9, kCoarse = 0x1p-6;
  static __device__ void multiply([[maybe_unused]] float (&d)[4], [[maybe_unused]] const uint32_t (&a)[4], [[maybe_unused]] const uint32_t (&b)[2]) {
#if defined(M2_EMULATED) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890)
    ptx::mma_e4m3(d, a, b);
#endif
  }
};

// f(index in [lane][register], index in [row][column]) of d.
template <class F>
void for_each_sum(F f) {
  for (int lane = 0; lane < 32; lane++) {
    for (int r = 0; r < 4; r++) f(static_cast<size_t>(lane * 4 + r), static_cast<size_t>((lane / 4 + 8 * (r >> 1)) * 8 + 2 * (lane % 4) + (r & 1)));
  }
}

// d + a b, [row][column]
template <class Product>
std::vector<typename Product::Sum> products(const Matrix<typename Product::Element>& a, const Matrix<typename Product::Element>& b,
                                            const std::vector<double>& d) {
  constexpr int kPerRegister = 32 / Product::Element::kBits;
  std::vector<uint32_t> fragment_b;
  for (int lane = 0; lane < 32; lane++) {
    for (int r = 0; r < 2; r++) fragment_b.push_back(b.packed(lane / 4, kPerRegister * (lane % 4) + r * 4 * kPerRegister));
  }
  std::vector<typename Product::Sum> sums(128), result(128);
  for_each_sum([&](size_t held, size_t place) { sums[held] = static_cast<typename Product::Sum>(d[place]); });
  const DeviceArray<uint32_t> da(fragment_a(a)), db(fragment_b);
  const DeviceArray<typename Product::Sum> dd(sums);
  run_kernel<mma_kernel<Product>>({.grid = 1, .block = 32}, dd.data(), da.data(), db.data());
  sums = dd.values();
  for_each_sum([&](size_t held, size_t place) { result[place] = sums[held]; });
  return result;
}

template <class Product>
constexpr int kDepth = 256 / Product::Element::kBits;

std::vector<double> small_sums() {
  std::vector<double> sums;
  for (int i = 0; i < 128; i++) sums.push_back(i % 11 - 5);
  return sums;
}

// How terms of very different magnitude are summed: row i has large ones of 2^(i step / 2) among small ones of unit^2. Columns: the large term comes first;
// last; is cancelled by the next; by the last; by what is added to; is what is added to; and the first and fourth again with small terms that round.
// The bits of the small terms that are left show how wide the sums are and in which order they are made.
template <class Product>
void magnitudes(Vectors& out, const std::string& name, int step, double unit) {
  using Element = typename Product::Element;
  constexpr int kLast = kDepth<Product> - 1;
  constexpr double kFactors[8][4] = {{2, 0, 0, 1}, {0, 0, 2, 1}, {2, -2, 0, 1}, {2, 0, -2, 1}, {2, 0, 0, 1}, {0, 0, 0, 1}, {2, 0, 0, 1.125}, {2, 0, -2, 1.125}};
  Matrix<Element> a(16, kLast + 1), b(8, kLast + 1);
  std::vector<double> sums(128, 0.0);
  for (int row = 0; row < 16; row++) {
    const double large = std::ldexp(1.0, row * step / 2);
    for (int k = 0; k <= kLast; k++) a.at(row, k) = Element::bits(k == 0 || k == 1 || k == kLast ? large : unit);
    sums[static_cast<size_t>(row * 8 + 4)] = -2 * large;
    sums[static_cast<size_t>(row * 8 + 5)] = 2 * large;
  }
  for (int column = 0; column < 8; column++) {
    const double* factors = kFactors[column];
    for (int k = 0; k <= kLast; k++) b.at(column, k) = Element::bits(k == 0 ? factors[0] : k == 1 ? factors[1] : k == kLast ? factors[2] : unit * factors[3]);
  }
  const Sums truth = multiply(a, b, sums);
  out.within(Product::kCoarse, name + "/magnitudes", products<Product>(a, b, sums), truth.sums, truth.magnitudes);
}

template <class Product>
void floats(Vectors& out, const std::string& name, int step, double unit) {
  using Element = typename Product::Element;
  const auto a = Matrix<Element>::integers(16, kDepth<Product>, 1), b = Matrix<Element>::integers(8, kDepth<Product>, 2);
  out.exact(name + "/integers", products<Product>(a, b, small_sums()), multiply(a, b, small_sums()).sums);
  const auto ra = Matrix<Element>::random(16, kDepth<Product>, 3), rb = Matrix<Element>::random(8, kDepth<Product>, 4);
  const Sums truth = multiply(ra, rb, small_sums());
  out.within(Product::kTolerance, name + "/random", products<Product>(ra, rb, small_sums()), truth.sums, truth.magnitudes);
  magnitudes<Product>(out, name, step, unit);
}

}  // namespace

CONFORMANCE("mma of 16 bits", 80) {
  floats<ProductBf16>(out, "mma_bf16", 4, 1);
  floats<ProductF16>(out, "mma_f16", 2, 0x1p-4);
}

CONFORMANCE("mma of integers", 80) {
  const auto a = Matrix<S8>::random(16, 32, 5), b = Matrix<S8>::random(8, 32, 6);
  std::vector<double> sums = small_sums();
  sums[0] = 0x7fffffff;  // which wraps
  std::vector<uint32_t> got, truth;
  for (int x : products<ProductS8>(a, b, sums)) got.push_back(static_cast<uint32_t>(x));
  for (double x : multiply(a, b, sums).sums) truth.push_back(static_cast<uint32_t>(static_cast<int64_t>(x)));
  out.exact("mma_s8", got, truth);
}

CONFORMANCE("mma of 8-bit floats", 90) { floats<ProductE4m3>(out, "mma_e4m3", 1, 0x1p-5); }

}  // namespace m2::test
