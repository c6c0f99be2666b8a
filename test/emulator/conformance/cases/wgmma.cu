// wgmma.h: matrix_descriptor, wgmma_fence, wgmma_commit, wgmma_wait, wgmma_bf16, wgmma_f16, wgmma_e4m3, take_registers, give_registers. The products are
// those of M2_FOR_EACH_WGMMA, with a in shared memory and in registers, along K and transposed.
#include "cuda/ptx/wgmma.h"

#include "../case.h"
#include "../numbers.h"
#include "cuda/ptx/mbarrier.h"

namespace m2::test {
namespace {

struct ProductBf16 {
  using Element = Bf16;
  static constexpr const char* kName = "wgmma_bf16";
  static constexpr double kTolerance = 0x1p-19;
  template <int kTransposeA, int kTransposeB, int kSums>
  static __device__ void multiply(float (&d)[kSums], uint64_t a, uint64_t b, int accumulate) {
    ptx::wgmma_bf16<kTransposeA, kTransposeB>(d, a, b, accumulate);
  }
  template <int kTransposeB, int kSums>
  static __device__ void multiply(float (&d)[kSums], const uint32_t (&a)[4], uint64_t b, int accumulate) {
    ptx::wgmma_bf16<kTransposeB>(d, a, b, accumulate);
  }
};
struct ProductF16 {
  using Element = F16;
  static constexpr const char* kName = "wgmma_f16";
  static constexpr double kTolerance = 0x1p-19;
  template <int kTransposeA, int kTransposeB, int kSums>
  static __device__ void multiply(float (&d)[kSums], uint64_t a, uint64_t b, int accumulate) {
    ptx::wgmma_f16<kTransposeA, kTransposeB>(d, a, b, accumulate);
  }
  template <int kTransposeB, int kSums>
  static __device__ void multiply(float (&d)[kSums], const uint32_t (&a)[4], uint64_t b, int accumulate) {
    ptx::wgmma_f16<kTransposeB>(d, a, b, accumulate);
  }
};
// Sums of 8-bit floats keep as few as 13 bits of the largest term; both operands lie along K.
struct ProductE4m3 {
  using Element = E4m3;
  static constexpr const char* kName = "wgmma_e4m3";
  static constexpr double kTolerance = 0x1p-9;
  template <int, int, int kSums>
  static __device__ void multiply(float (&d)[kSums], uint64_t a, uint64_t b, int accumulate) {
    ptx::wgmma_e4m3(d, a, b, accumulate);
  }
  template <int, int kSums>
  static __device__ void multiply(float (&d)[kSums], const uint32_t (&a)[4], uint64_t b, int accumulate) {
    ptx::wgmma_e4m3(d, a, b, accumulate);
  }
};

// Of each operand the depth is 128 bytes: four products' worth.
constexpr int kSteps = 4, kDepthBytes = 128;

// Where an operand's tile is and how it lies.
struct Operand {
  uint32_t start[kSteps], leading, stride;
};
struct Tiles {
  Operand a, b;
  uint32_t bytes;
  ptx::Swizzle swizzle;
  int accumulate;  // add to what d holds
};

template <class Product, int kColumns, bool kRegisters, int kTransposeA, int kTransposeB>
__global__ void __launch_bounds__(128) wgmma_kernel(float* out, const uint32_t* shared, const uint32_t* registers, Tiles tiles) {
  M2_DYNAMIC_SHARED(raw);
  const int t = threadIdx.x;
  for (uint32_t i = t; i < tiles.bytes / 4; i += 128) reinterpret_cast<uint32_t*>(raw)[i] = shared[i];
  ptx::fence_proxy_async();
  __syncthreads();
  const uint32_t base = ptx::shared_address(raw);
  float d[kColumns / 2];
  for (int i = 0; i < kColumns / 2; i++) d[i] = out[i * 128 + t];
  uint32_t a[kSteps][4];
  if (kRegisters) {
    for (int step = 0; step < kSteps; step++) {
      for (int r = 0; r < 4; r++) a[step][r] = registers[(step * 128 + t) * 4 + r];
    }
  }
  ptx::wgmma_fence();
  for (int step = 0; step < kSteps; step++) {
    const auto descriptor = [&](const Operand& x) { return ptx::matrix_descriptor(base + x.start[step], x.leading, x.stride, tiles.swizzle); };
    const int accumulate = step > 0 || tiles.accumulate;
    if constexpr (kRegisters) Product::template multiply<kTransposeB>(d, a[step], descriptor(tiles.b), accumulate);
    else Product::template multiply<kTransposeA, kTransposeB>(d, descriptor(tiles.a), descriptor(tiles.b), accumulate);
  }
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>();
  for (int i = 0; i < kColumns / 2; i++) out[i * 128 + t] = d[i];
}

// Lays out an operand of `rows` along M or N behind what is in `image`. The tile is cut into rows of the swizzle's width, 16 bytes without one: along K
// one for each of the operand's rows, or transposed one for each k; rows of 8 follow each other, and then the next such width.
template <class Element>
Operand lay_out(std::vector<uint32_t>& image, const Matrix<Element>& m, ptx::Swizzle swizzle, bool is_transposed) {
  constexpr uint32_t kBytes = Element::kBits / 8;
  const uint32_t width = swizzle == ptx::Swizzle::kNone ? 16 : 256u >> static_cast<uint32_t>(swizzle);
  const uint32_t lines = static_cast<uint32_t>(is_transposed ? m.depth : m.rows), next = lines * width, base = static_cast<uint32_t>(image.size() * 4);
  const uint32_t across = static_cast<uint32_t>(is_transposed ? m.rows : m.depth) * kBytes;
  image.resize(image.size() + ((across + width - 1) / width * next + 1023) / 1024 * 256);
  uint8_t* tile = reinterpret_cast<uint8_t*>(image.data()) + base;
  for (int row = 0; row < m.rows; row++) {
    for (int k = 0; k < m.depth; k++) {
      const uint32_t line = static_cast<uint32_t>(is_transposed ? k : row), x = static_cast<uint32_t>(is_transposed ? row : k) * kBytes;
      const uint32_t offset = x / width * next + line * width + x % width, bits = m.at(row, k);
      std::memcpy(tile + (offset ^ (offset >> 7) % (width / 16) << 4), &bits, kBytes);
    }
  }
  Operand operand{{}, next, 8 * width};
  if (is_transposed && width == 16) std::swap(operand.leading, operand.stride);
  for (uint32_t step = 0; step < kSteps; step++) {
    operand.start[step] = base + (is_transposed ? step * 16 * width : step * 32 / width * next + step * 32 % width);
  }
  return operand;
}

// f(index in [register][thread], index in [row][column]) of d.
template <class F>
void for_each_sum(int columns, F f) {
  for (int t = 0; t < 128; t++) {
    for (int i = 0; i < columns / 2; i++) {
      const int row = t / 32 * 16 + t % 32 / 4 + 8 * (i >> 1 & 1), column = i / 4 * 8 + 2 * (t % 4) + (i & 1);
      f(static_cast<size_t>(i * 128 + t), static_cast<size_t>(row * columns + column));
    }
  }
}

// d (+)= a b, [row][column]
template <class Product, int kColumns, bool kRegisters, int kTransposeA, int kTransposeB>
std::vector<float> products(const Matrix<typename Product::Element>& a, const Matrix<typename Product::Element>& b, const std::vector<double>& d,
                            bool accumulate, ptx::Swizzle swizzle) {
  std::vector<uint32_t> image, registers;
  Tiles tiles{};
  if (!kRegisters) tiles.a = lay_out(image, a, swizzle, kTransposeA != 0);
  tiles.b = lay_out(image, b, swizzle, kTransposeB != 0);
  tiles.bytes = static_cast<uint32_t>(image.size() * 4);
  tiles.swizzle = swizzle;
  tiles.accumulate = accumulate;
  for (int step = 0; step < kSteps; step++) {
    for (int warp = 0; warp < 4; warp++) {
      const std::vector<uint32_t> part = fragment_a(a, warp * 16, step * a.depth / kSteps);
      registers.insert(registers.end(), part.begin(), part.end());
    }
  }
  std::vector<float> sums(d.size()), result(d.size());
  for_each_sum(kColumns, [&](size_t held, size_t place) { sums[held] = static_cast<float>(d[place]); });
  const DeviceArray<uint32_t> ds(image), dr(registers);
  const DeviceArray<float> dd(sums);
  run_kernel<wgmma_kernel<Product, kColumns, kRegisters, kTransposeA, kTransposeB>>({.grid = 1, .block = 128, .shared = tiles.bytes}, dd.data(), ds.data(),
                                                                                   dr.data(), tiles);
  sums = dd.values();
  for_each_sum(kColumns, [&](size_t held, size_t place) { result[place] = sums[held]; });
  return result;
}

template <class Product>
constexpr int kDepth = kDepthBytes * 8 / Product::Element::kBits;

std::vector<double> small_sums(int columns) {
  std::vector<double> sums;
  for (int i = 0; i < 64 * columns; i++) sums.push_back(i % 11 - 5);
  return sums;
}

template <class Product, int kColumns, bool kRegisters, int kTransposeA, int kTransposeB>
void integers(Vectors& out, bool accumulate, ptx::Swizzle swizzle) {
  constexpr unsigned kSwizzleBytes[] = {0, 128, 64, 32};
  const auto a = Matrix<typename Product::Element>::integers(64, kDepth<Product>, 1);
  const auto b = Matrix<typename Product::Element>::integers(kColumns, kDepth<Product>, kColumns);
  const std::vector<double> held = small_sums(kColumns), from = accumulate ? held : std::vector<double>(held.size(), 0.0);
  const std::string name = std::string(Product::kName) + "/n" + std::to_string(kColumns) + (kRegisters ? "/registers" : kTransposeA ? "/shared_transposed" : "/shared") +
                           (kTransposeB ? "/transposed" : "") + "/swizzle_" + std::to_string(kSwizzleBytes[static_cast<int>(swizzle)]);
  out.exact(name, products<Product, kColumns, kRegisters, kTransposeA, kTransposeB>(a, b, held, accumulate, swizzle), multiply(a, b, from).sums);
}

// The widest rows that so many columns fill.
constexpr ptx::Swizzle swizzle_of(int columns) {
  return columns % 64 == 0 ? ptx::Swizzle::k128 : columns % 32 == 0 ? ptx::Swizzle::k64 : columns % 16 == 0 ? ptx::Swizzle::k32 : ptx::Swizzle::kNone;
}

template <class Product, int kColumns>
void shape(Vectors& out) {
  integers<Product, kColumns, false, 0, 0>(out, false, ptx::Swizzle::k128);
  integers<Product, kColumns, true, 0, 0>(out, true, ptx::Swizzle::k128);
  if constexpr (Product::Element::kBits == 16) {
    integers<Product, kColumns, false, 1, 1>(out, true, swizzle_of(kColumns));
    integers<Product, kColumns, true, 0, 1>(out, false, swizzle_of(kColumns));
  }
}

template <class Product>
void swizzles(Vectors& out) {
  for (ptx::Swizzle swizzle : {ptx::Swizzle::kNone, ptx::Swizzle::k32, ptx::Swizzle::k64, ptx::Swizzle::k128}) {
    const bool is_in_shapes = swizzle == ptx::Swizzle::k128;
    if (!is_in_shapes) integers<Product, 128, false, 0, 0>(out, true, swizzle);
    if (!is_in_shapes) integers<Product, 128, true, 0, 0>(out, false, swizzle);
    if constexpr (Product::Element::kBits == 16) {
      integers<Product, 128, false, 1, 0>(out, true, swizzle);
      integers<Product, 128, false, 0, 1>(out, true, swizzle);
      if (!is_in_shapes) integers<Product, 128, false, 1, 1>(out, true, swizzle);
      if (!is_in_shapes) integers<Product, 128, true, 0, 1>(out, true, swizzle);
    }
  }
}

template <class Product>
void random(Vectors& out) {
  constexpr int kColumns = 64;
  const auto a = Matrix<typename Product::Element>::random(64, kDepth<Product>, 5), b = Matrix<typename Product::Element>::random(kColumns, kDepth<Product>, 6);
  const Sums truth = multiply(a, b, small_sums(kColumns));
  out.within(Product::kTolerance, std::string(Product::kName) + "/random",
             products<Product, kColumns, false, 0, 0>(a, b, small_sums(kColumns), true, ptx::Swizzle::k128), truth.sums, truth.magnitudes);
}

// Two groups in flight with accumulators of their own; the first is read while the second may still run.
__global__ void __launch_bounds__(128) groups_kernel(float* out, const uint32_t* shared, Tiles tiles) {
  M2_DYNAMIC_SHARED(raw);
  const int t = threadIdx.x;
  for (uint32_t i = t; i < tiles.bytes / 4; i += 128) reinterpret_cast<uint32_t*>(raw)[i] = shared[i];
  ptx::fence_proxy_async();
  __syncthreads();
  const uint32_t base = ptx::shared_address(raw);
  float first[16], second[16];
  const auto multiply = [&](float(&d)[16], int from) {
    for (int step = from; step < from + 2; step++) {
      const auto descriptor = [&](const Operand& x) { return ptx::matrix_descriptor(base + x.start[step], x.leading, x.stride, tiles.swizzle); };
      ptx::wgmma_bf16(d, descriptor(tiles.a), descriptor(tiles.b), step > from);
    }
    ptx::wgmma_commit();
  };
  ptx::wgmma_fence();
  multiply(first, 0);
  multiply(second, 2);
  ptx::wgmma_wait<1>();
  for (int i = 0; i < 16; i++) out[i * 128 + t] = first[i];
  ptx::wgmma_wait<0>();
  for (int i = 0; i < 16; i++) out[(16 + i) * 128 + t] = second[i];
}

// One warpgroup gives registers, two take them.
__global__ void __launch_bounds__(384, 1) registers_kernel(uint32_t* out) {
  if (threadIdx.x < 128) {
    ptx::give_registers<40>();
    out[threadIdx.x] = threadIdx.x + 1;
  } else {
    ptx::take_registers<232>();
    out[threadIdx.x] = threadIdx.x * 3;
  }
}

}  // namespace

#define M2_SHAPE(n, ...) shape<Product, n>(out);
template <class Product>
static void shapes(Vectors& out) {
  M2_FOR_EACH_WGMMA(M2_SHAPE)
}
#undef M2_SHAPE

CONFORMANCE("wgmma: shapes of bf16", 90) { shapes<ProductBf16>(out); }
CONFORMANCE("wgmma: shapes of f16", 90) { shapes<ProductF16>(out); }
CONFORMANCE("wgmma: shapes of e4m3", 90) { shapes<ProductE4m3>(out); }

CONFORMANCE("wgmma: swizzles", 90) {
  swizzles<ProductBf16>(out);
  swizzles<ProductF16>(out);
  swizzles<ProductE4m3>(out);
}

CONFORMANCE("wgmma: random", 90) {
  random<ProductBf16>(out);
  random<ProductF16>(out);
  random<ProductE4m3>(out);
}

CONFORMANCE("wgmma: groups", 90) {
  constexpr int kColumns = 32;
  const auto a = Matrix<Bf16>::integers(64, kDepth<ProductBf16>, 1), b = Matrix<Bf16>::integers(kColumns, kDepth<ProductBf16>, 2);
  std::vector<uint32_t> image;
  Tiles tiles{};
  tiles.a = lay_out(image, a, ptx::Swizzle::k128, false);
  tiles.b = lay_out(image, b, ptx::Swizzle::k128, false);
  tiles.bytes = static_cast<uint32_t>(image.size() * 4);
  tiles.swizzle = ptx::Swizzle::k128;
  const DeviceArray<uint32_t> shared(image);
  const DeviceArray<float> got(2 * 64 * kColumns);
  run_kernel<groups_kernel>({.grid = 1, .block = 128, .shared = tiles.bytes}, got.data(), shared.data(), tiles);
  std::vector<double> truth(2 * 64 * kColumns);
  for (int half = 0; half < 2; half++) {
    for_each_sum(kColumns, [&](size_t held, size_t place) {
      const int row = static_cast<int>(place) / kColumns, column = static_cast<int>(place) % kColumns;
      for (int k = half * 32; k < half * 32 + 32; k++) truth[static_cast<size_t>(half * 64 * kColumns) + held] += a.value(row, k) * b.value(column, k);
    });
  }
  out.exact("wgmma/groups", got.values(), truth);
}

CONFORMANCE("setmaxnreg", 90) {
  const DeviceArray<uint32_t> got(384);
  run_kernel<registers_kernel>({.grid = 1, .block = 384}, got.data());
  std::vector<uint32_t> truth;
  for (uint32_t t = 0; t < 384; t++) truth.push_back(t < 128 ? t + 1 : 3 * t);
  out.exact("take_registers", got.values(), truth);
}

}  // namespace m2::test
