// tensor.h: prefetch_tensor_map, tensor_load, tensor_load_multicast, tensor_store, tensor_add, each of 1 to 5 dimensions.
#include "cuda/ptx/tensor.h"

#include <algorithm>
#include <utility>

#include "../case.h"
#include "../numbers.h"
#include "cuda/ptx/bulk.h"
#include "cuda/ptx/cluster.h"
#include "cuda/ptx/mbarrier.h"

namespace m2::test {
namespace {

struct Coordinates {
  int x[5];
};

// Tiles of shared memory, and behind them an mbarrier.
constexpr uint32_t kBarrier = 8192, kShared = kBarrier + 8;

template <int... d>
__device__ void load(uint32_t tile, const CUtensorMap* map, uint32_t bar, const Coordinates& at, std::integer_sequence<int, d...>) {
  ptx::tensor_load(tile, map, bar, at.x[d]...);
}
template <int... d>
__device__ void load_multicast(uint32_t tile, const CUtensorMap* map, uint32_t bar, uint16_t blocks, const Coordinates& at, std::integer_sequence<int, d...>) {
  ptx::tensor_load_multicast(tile, map, bar, blocks, at.x[d]...);
}
template <int... d>
__device__ void store(const CUtensorMap* map, uint32_t tile, bool adds, const Coordinates& at, std::integer_sequence<int, d...>) {
  if (adds) ptx::tensor_add(map, tile, at.x[d]...);
  else ptx::tensor_store(map, tile, at.x[d]...);
}

template <int kDimensions>
__global__ void load_kernel(uint32_t* out, const __grid_constant__ CUtensorMap map, Coordinates at, uint32_t bytes) {
  M2_DYNAMIC_SHARED(tile);
  const uint32_t bar = ptx::shared_address(tile) + kBarrier;
  if (threadIdx.x == 0) {
    ptx::prefetch_tensor_map(&map);
    ptx::mbarrier_init(bar, 1);
    ptx::fence_mbarrier_init();
    ptx::mbarrier_arrive_expect_bytes(bar, bytes);
    load(ptx::shared_address(tile), &map, bar, at, std::make_integer_sequence<int, kDimensions>());
  }
  __syncthreads();
  ptx::mbarrier_wait(bar, 0);
  for (uint32_t i = threadIdx.x; i < bytes / 4; i += blockDim.x) out[i] = reinterpret_cast<const uint32_t*>(tile)[i];
}

// Block r of a cluster loads the r-th of two boxes to those blocks of which masks[r] has a bit. A block's tiles that nobody loads stay zero; one begins
// `pitch` bytes behind the other.
struct Multicast {
  Coordinates at[2];
  uint32_t masks[2], bytes, pitch;
};
template <int kDimensions>
__global__ void multicast_kernel(uint32_t* out, const __grid_constant__ CUtensorMap map, Multicast m) {
  M2_DYNAMIC_SHARED(tiles);
  const uint32_t bar = ptx::shared_address(tiles) + kBarrier, rank = ptx::cluster_rank(), boxes = (m.masks[0] >> rank & 1) + (m.masks[1] >> rank & 1);
  uint32_t* words = reinterpret_cast<uint32_t*>(tiles);
  for (uint32_t i = threadIdx.x; i < m.pitch / 2; i += blockDim.x) words[i] = 0;
  ptx::fence_proxy_async();
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(bar, 1);
    ptx::fence_mbarrier_init();
    ptx::mbarrier_arrive_expect_bytes(bar, boxes * m.bytes);
  }
  __syncwarp();
  ptx::cluster_arrive();
  ptx::cluster_wait();
  if (threadIdx.x == 0 && rank < 2) {
    load_multicast(ptx::shared_address(tiles) + rank * m.pitch, &map, bar, static_cast<uint16_t>(m.masks[rank]), m.at[rank],
                   std::make_integer_sequence<int, kDimensions>());
  }
  ptx::mbarrier_wait(bar, 0);
  for (uint32_t i = threadIdx.x; i < m.pitch / 2; i += blockDim.x) out[rank * m.pitch / 2 + i] = words[i];
  __syncwarp();
  ptx::cluster_arrive();
  ptx::cluster_wait();
}

template <int kDimensions>
__global__ void store_kernel(const uint32_t* in, const __grid_constant__ CUtensorMap map, Coordinates at, uint32_t bytes, bool adds) {
  M2_DYNAMIC_SHARED(tile);
  for (uint32_t i = threadIdx.x; i < bytes / 4; i += blockDim.x) reinterpret_cast<uint32_t*>(tile)[i] = in[i];
  ptx::fence_proxy_async();
  __syncthreads();
  if (threadIdx.x != 0) return;
  store(&map, ptx::shared_address(tile), adds, at, std::make_integer_sequence<int, kDimensions>());
  ptx::bulk_commit();
  ptx::bulk_wait<0>();
}

// A tensor of elements of so many bytes, and the box that is copied; rows have 16 bytes between them that belong to no element.
struct Tensor {
  CUtensorMapDataType type;
  int dimensions;
  uint32_t element;
  int sizes[5], box[5];
  CUtensorMapSwizzle swizzle = CU_TENSOR_MAP_SWIZZLE_NONE;

  uint32_t row_bytes() const { return static_cast<uint32_t>(sizes[0]) * element + 16; }
  uint32_t bytes() const {
    uint32_t rows = 1;
    for (int d = 1; d < dimensions; d++) rows *= static_cast<uint32_t>(sizes[d]);
    return rows * row_bytes();
  }
  uint32_t box_bytes() const {
    uint32_t bytes = element;
    for (int d = 0; d < dimensions; d++) bytes *= static_cast<uint32_t>(box[d]);
    return bytes;
  }

  CUtensorMap map(void* data) const {
    static const auto encode = [] {
      void* function = nullptr;
      cudaDriverEntryPointQueryResult result;
      succeed(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &result));
      EXPECT(result == cudaDriverEntryPointSuccess, "the driver has no tensor maps");
      return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
    }();
    CUtensorMap map;
    cuuint64_t all[5], strides[5] = {row_bytes()};
    cuuint32_t part[5], ones[5] = {1, 1, 1, 1, 1};
    for (int d = 0; d < dimensions; d++) {
      all[d] = static_cast<cuuint64_t>(sizes[d]);
      part[d] = static_cast<cuuint32_t>(box[d]);
      if (d > 0) strides[d] = strides[d - 1] * all[d];
    }
    const CUresult result = encode(&map, type, static_cast<cuuint32_t>(dimensions), data, all, strides, part, ones, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
                                   CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    EXPECT(result == CUDA_SUCCESS, "cuTensorMapEncodeTiled: ", static_cast<int>(result));
    return map;
  }

  // 16-byte pieces change places within rows of 128 bytes: the piece's number with the row's.
  uint32_t place(uint32_t offset) const { return swizzle ? offset ^ (offset >> 7 & ((1u << swizzle) - 1)) << 4 : offset; }

  // f(where in the tile, where in the tensor) in bytes, for the box's elements that are in the tensor.
  template <class F>
  void for_each_element(const Coordinates& at, F f) const {
    for (uint32_t i = 0; i < box_bytes() / element; i++) {
      uint32_t rest = i, offset = 0, stride = element;
      bool is_inside = true;
      for (int d = 0; d < dimensions; d++) {
        const int x = at.x[d] + static_cast<int>(rest % static_cast<uint32_t>(box[d]));
        rest /= static_cast<uint32_t>(box[d]);
        is_inside = is_inside && x >= 0 && x < sizes[d];
        offset += static_cast<uint32_t>(x) * stride;
        stride = d == 0 ? row_bytes() : stride * static_cast<uint32_t>(sizes[d]);
      }
      if (is_inside) f(place(i * element), offset);
    }
  }
  std::vector<uint32_t> tile(const std::vector<uint32_t>& tensor, const Coordinates& at) const {
    std::vector<uint32_t> words(box_bytes() / 4);
    for_each_element(at, [&](uint32_t to, uint32_t from) {
      std::memcpy(reinterpret_cast<char*>(words.data()) + to, reinterpret_cast<const char*>(tensor.data()) + from, element);
    });
    return words;
  }
};

Tensor words_of(int dimensions) { return {CU_TENSOR_MAP_DATA_TYPE_UINT32, dimensions, 4, {20, 6, 5, 4, 3}, {8, 3, 2, 2, 2}}; }

// A box inside the tensor, before its first element and past its last.
constexpr Coordinates kInside = {{4, 1, 2, 1, 1}}, kBefore = {{-3, -1, -1, -1, -1}}, kPast = {{15, 4, 4, 3, 2}};

template <int kDimensions>
void loads(Vectors& out, const Tensor& t, const std::string& name, const Coordinates& at) {
  const std::vector<uint32_t> in = scattered(t.bytes() / 4);
  const DeviceArray<uint32_t> tensor(in), got(t.box_bytes() / 4);
  run_kernel<load_kernel<kDimensions>>({.grid = 1, .block = 64, .shared = kShared}, got.data(), t.map(tensor.data()), at, t.box_bytes());
  out.exact("tensor_load/" + name, got.values(), t.tile(in, at));
}

template <int kDimensions>
void stores(Vectors& out, const Tensor& t, const std::string& name, const Coordinates& at) {
  const std::vector<uint32_t> in = scattered(t.box_bytes() / 4);
  std::vector<uint32_t> truth = counting(t.bytes() / 4, 7);
  const DeviceArray<uint32_t> tensor(truth), tile(in);
  run_kernel<store_kernel<kDimensions>>({.grid = 1, .block = 64, .shared = kShared}, tile.data(), t.map(tensor.data()), at, t.box_bytes(), false);
  t.for_each_element(at, [&](uint32_t from, uint32_t to) {
    std::memcpy(reinterpret_cast<char*>(truth.data()) + to, reinterpret_cast<const char*>(in.data()) + from, t.element);
  });
  out.exact("tensor_store/" + name, tensor.values(), truth);
}

// Integers in the tensor's own type, which add(sum, value) adds and bits(i) makes.
template <int kDimensions, class Bits, class Add>
void sums(Vectors& out, const Tensor& t, const std::string& name, const Coordinates& at, Bits bits, Add add) {
  const auto filled = [&](uint32_t bytes, uint64_t factor) {
    std::vector<uint32_t> words(bytes / 4);
    for (uint32_t i = 0; i < bytes / t.element; i++) {
      const uint64_t value = bits(static_cast<int>(i * factor % 61) - 20);
      std::memcpy(reinterpret_cast<char*>(words.data()) + i * t.element, &value, t.element);
    }
    return words;
  };
  const std::vector<uint32_t> in = filled(t.box_bytes(), 7);
  std::vector<uint32_t> truth = filled(t.bytes(), 11);
  const DeviceArray<uint32_t> tensor(truth), tile(in);
  run_kernel<store_kernel<kDimensions>>({.grid = 1, .block = 64, .shared = kShared}, tile.data(), t.map(tensor.data()), at, t.box_bytes(), true);
  t.for_each_element(at, [&](uint32_t from, uint32_t to) {
    uint64_t sum = 0, value = 0;
    std::memcpy(&value, reinterpret_cast<const char*>(in.data()) + from, t.element);
    std::memcpy(&sum, reinterpret_cast<const char*>(truth.data()) + to, t.element);
    sum = add(sum, value);
    std::memcpy(reinterpret_cast<char*>(truth.data()) + to, &sum, t.element);
  });
  out.exact("tensor_add/" + name, tensor.values(), truth);
}

template <int kDimensions, class Element>
void float_sums(Vectors& out, const Tensor& t, const std::string& name, const Coordinates& at) {
  sums<kDimensions>(
      out, t, name, at, [](int x) { return uint64_t{Element::bits(x)}; },
      [](uint64_t a, uint64_t b) {
        return uint64_t{Element::bits(Element::value(static_cast<uint32_t>(a)) + Element::value(static_cast<uint32_t>(b)))};
      });
}

template <int kDimensions>
void multicasts(Vectors& out, const std::string& name) {
  constexpr uint32_t kBlocks = 4;
  const Tensor t = words_of(kDimensions);
  const Multicast m{{kInside, kPast}, {0b1011, 0b0110}, t.box_bytes(), (t.box_bytes() + 127) / 128 * 128};
  const std::vector<uint32_t> in = scattered(t.bytes() / 4);
  std::vector<uint32_t> truth(kBlocks * m.pitch / 2);
  const DeviceArray<uint32_t> tensor(in), got(truth.size());
  run_kernel<multicast_kernel<kDimensions>>({.grid = kBlocks, .block = 64, .shared = kShared, .cluster = kBlocks}, got.data(), t.map(tensor.data()), m);
  for (uint32_t i = 0; i < 2; i++) {
    const std::vector<uint32_t> tile = t.tile(in, m.at[i]);
    for (uint32_t block = 0; block < kBlocks; block++) {
      if (m.masks[i] >> block & 1) std::copy(tile.begin(), tile.end(), truth.begin() + (block * 2 + i) * m.pitch / 4);
    }
  }
  out.exact("tensor_load_multicast/" + name, got.values(), truth);
}

using F32 = NarrowFloat<8, 23>;

template <int kDimensions>
void boxes(Vectors& out) {
  const std::string name = std::to_string(kDimensions) + "d";
  const Tensor t = words_of(kDimensions);
  Tensor floats = t;
  floats.type = CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
  const std::pair<const char*, Coordinates> places[] = {{"/inside", kInside}, {"/before", kBefore}, {"/past", kPast}};
  for (const auto& [place, at] : places) {
    loads<kDimensions>(out, t, name + place, at);
    stores<kDimensions>(out, t, name + place, at);
    float_sums<kDimensions, F32>(out, floats, "f32/" + name + place, at);
  }
  multicasts<kDimensions>(out, name);
}

}  // namespace

CONFORMANCE("tensor maps: boxes", 90) {
  boxes<1>(out);
  boxes<2>(out);
  boxes<3>(out);
  boxes<4>(out);
  boxes<5>(out);
}

CONFORMANCE("tensor maps: swizzles", 90) {
  const std::pair<const char*, CUtensorMapSwizzle> swizzles[] = {
      {"32", CU_TENSOR_MAP_SWIZZLE_32B}, {"64", CU_TENSOR_MAP_SWIZZLE_64B}, {"128", CU_TENSOR_MAP_SWIZZLE_128B}};
  for (const auto& [name, swizzle] : swizzles) {
    const Tensor t{CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, 2, {136, 40}, {8 << swizzle, 24}, swizzle};
    const std::pair<const char*, Coordinates> places[] = {{"/inside", {{8, 3}}}, {"/past", {{105, 30}}}};
    for (const auto& [place, at] : places) {
      loads<2>(out, t, std::string("swizzle_") + name + place, at);
      stores<2>(out, t, std::string("swizzle_") + name + place, at);
      float_sums<2, Bf16>(out, t, std::string("swizzle_") + name + place, at);
    }
  }
}

CONFORMANCE("tensor maps: sums of each type", 90) {
  const auto of = [](CUtensorMapDataType type, uint32_t element) { return Tensor{type, 2, element, {24, 5}, {16, 4}}; };
  const Coordinates at{{-2, 2}};
  float_sums<2, Bf16>(out, of(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2), "bf16", at);
  float_sums<2, F16>(out, of(CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2), "f16", at);
  const auto bits = [](int x) { return static_cast<uint64_t>(int64_t{x}); };
  const auto add = [](uint64_t a, uint64_t b) { return a + b; };
  sums<2>(out, of(CU_TENSOR_MAP_DATA_TYPE_UINT32, 4), "u32", at, bits, add);
  sums<2>(out, of(CU_TENSOR_MAP_DATA_TYPE_INT32, 4), "s32", at, bits, add);
  sums<2>(out, of(CU_TENSOR_MAP_DATA_TYPE_UINT64, 8), "u64", at, bits, add);
}

}  // namespace m2::test
