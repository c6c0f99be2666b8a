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
__global__ void __launch_bounds__(128) wgmma_kernel([[maybe_unused]] float* out, [[maybe_unused]] const uint32_t* shared,
                                                    [[maybe_unused]] const uint32_t* registers, [[maybe_unused]] Tiles tiles) {
#if defined(M2_EMULATED) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900)  // there are many of it
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
#endif
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

// One instance of the kernel.
struct Form {
  std::string name;
  int columns;
  bool is_a_in_registers, transposes_a, transposes_b;
  void (*run)(const Shape&, float* out, const uint32_t* shared, const uint32_t* registers, const Tiles&);
};
template <class Product, int kColumns, bool kRegisters, int kTransposeA, int kTransposeB>
Form form() {
  const std::string a = kRegisters ? "registers" : kTransposeA ? "shared_transposed" : "shared";
  return {std::string(Product::kName) + "/n" + std::to_string(kColumns) + "/" + a + (kTransposeB ? "/transposed" : ""), kColumns, kRegisters,
          kTransposeA != 0, kTransposeB != 0, [](const Shape& s, float* out, const uint32_t* shared, const uint32_t* registers, const Tiles& tiles) {
            run_kernel<wgmma_kernel<Product, kColumns, kRegisters, kTransposeA, kTransposeB>>(s, out, shared, registers, tiles);
          }};
}

// d (+)= a b, [row][column]
template <class Element>
std::vector<float> products(const Form& form, const Matrix<Element>& a, const Matrix<Element>& b, const std::vector<double>& d, bool accumulate,
                            ptx::Swizzle swizzle) {
  std::vector<uint32_t> image, registers;
  Tiles tiles{};
  if (!form.is_a_in_registers) tiles.a = lay_out(image, a, swizzle, form.transposes_a);
  tiles.b = lay_out(image, b, swizzle, form.transposes_b);
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
  for_each_sum(form.columns, [&](size_t held, size_t place) { sums[held] = static_cast<float>(d[place]); });
  const DeviceArray<uint32_t> ds(image), dr(registers);
  const DeviceArray<float> dd(sums);
  form.run({.grid = 1, .block = 128, .shared = tiles.bytes}, dd.data(), ds.data(), dr.data(), tiles);
  sums = dd.values();
  for_each_sum(form.columns, [&](size_t held, size_t place) { result[place] = sums[held]; });
  return result;
}

template <class Element>
constexpr int kDepth = kDepthBytes * 8 / Element::kBits;

std::vector<double> small_sums(int columns) {
  std::vector<double> sums;
  for (int i = 0; i < 64 * columns; i++) sums.push_back(i % 11 - 5);
  return sums;
}

template <class Element>
void integers(Vectors& out, const Form& form, bool accumulate, ptx::Swizzle swizzle) {
  constexpr const char* kNames[] = {"/swizzle_none", "/swizzle_128", "/swizzle_64", "/swizzle_32"};
  const auto a = Matrix<Element>::integers(64, kDepth<Element>, 1);
  const auto b = Matrix<Element>::integers(form.columns, kDepth<Element>, static_cast<unsigned>(form.columns));
  const std::vector<double> held = small_sums(form.columns), from = accumulate ? held : std::vector<double>(held.size(), 0.0);
  out.exact(form.name + kNames[static_cast<int>(swizzle)], products(form, a, b, held, accumulate, swizzle), multiply(a, b, from).sums);
}

// The widest rows that so many columns fill.
constexpr ptx::Swizzle swizzle_of(int columns) {
  return columns % 64 == 0 ? ptx::Swizzle::k128 : columns % 32 == 0 ? ptx::Swizzle::k64 : columns % 16 == 0 ? ptx::Swizzle::k32 : ptx::Swizzle::kNone;
}

template <class Product, int kColumns>
void shape(Vectors& out) {
  using Element = typename Product::Element;
  integers<Element>(out, form<Product, kColumns, false, 0, 0>(), false, ptx::Swizzle::k128);
  integers<Element>(out, form<Product, kColumns, true, 0, 0>(), true, ptx::Swizzle::k128);
  if constexpr (Element::kBits == 16) {
    integers<Element>(out, form<Product, kColumns, false, 1, 1>(), true, swizzle_of(kColumns));
    integers<Element>(out, form<Product, kColumns, true, 0, 1>(), false, swizzle_of(kColumns));
  }
}

template <class Product>
void swizzles(Vectors& out) {
  using Element = typename Product::Element;
  for (ptx::Swizzle swizzle : {ptx::Swizzle::kNone, ptx::Swizzle::k32, ptx::Swizzle::k64, ptx::Swizzle::k128}) {
    const bool is_in_shapes = swizzle == ptx::Swizzle::k128;
    if (!is_in_shapes) integers<Element>(out, form<Product, 128, false, 0, 0>(), true, swizzle);
    if (!is_in_shapes) integers<Element>(out, form<Product, 128, true, 0, 0>(), false, swizzle);
    if constexpr (Element::kBits == 16) {
      integers<Element>(out, form<Product, 128, false, 1, 0>(), true, swizzle);
      integers<Element>(out, form<Product, 128, false, 0, 1>(), true, swizzle);
      if (!is_in_shapes) integers<Element>(out, form<Product, 128, false, 1, 1>(), true, swizzle);
      if (!is_in_shapes) integers<Element>(out, form<Product, 128, true, 0, 1>(), true, swizzle);
    }
  }
}

template <class Product>
void random(Vectors& out) {
  using Element = typename Product::Element;
  constexpr int kColumns = 64;
  const auto a = Matrix<Element>::random(64, kDepth<Element>, 5), b = Matrix<Element>::random(kColumns, kDepth<Element>, 6);
  const Sums truth = multiply(a, b, small_sums(kColumns));
  out.within(Product::kTolerance, std::string(Product::kName) + "/random",
             products(form<Product, kColumns, false, 0, 0>(), a, b, small_sums(kColumns), true, ptx::Swizzle::k128), truth.sums, truth.magnitudes);
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
  const auto a = Matrix<Bf16>::integers(64, kDepth<Bf16>, 1), b = Matrix<Bf16>::integers(kColumns, kDepth<Bf16>, 2);
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
  const std::vector<double> va = a.values(), vb = b.values();
  for (size_t half = 0; half < 2; half++) {
    for_each_sum(kColumns, [&](size_t held, size_t place) {
      for (size_t k = half * 32; k < half * 32 + 32; k++) truth[half * 64 * kColumns + held] += va[place / kColumns * 64 + k] * vb[place % kColumns * 64 + k];
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
