#include "kernels/arena.h"

namespace m2::kernels {
namespace {

const std::vector<unsigned char>& guard() {
  static const std::vector<unsigned char> ones(Arena::kGuard, 0xff);
  return ones;
}

}  // namespace

void* Arena::place(const void* values, size_t bytes) {
  Piece& piece = pieces_.emplace_back(Piece{ops.allocate(bytes + kGuard), bytes});
  ops.upload(piece.memory.data(), values, bytes);
  ops.upload(static_cast<char*>(piece.memory.data()) + bytes, guard().data(), kGuard);
  return piece.memory.data();
}

Weight Arena::weight(int64_t experts, int64_t n, int64_t k, WeightLayout layout, const std::vector<float>& values) {
  Weight weight = ops.allocate_weight(experts, n, k, layout);
  for (int64_t e = 0; e < experts; e++) ops.pack(weight, e, 0, View::of(values.data() + e * n * k, {n, k}));
  return weight;
}

KvCache Arena::kv(DType dtype, int64_t pages, int64_t layers, int64_t heads, int64_t page_size, int64_t head_dim, const std::vector<float>& values) {
  KvCache cache{nullptr, dtype, pages, layers, heads, page_size, head_dim};
  const int64_t count = pages * cache.page_elements();
  if (dtype != DType::kF8E4m3) {
    cache.data = (dtype == DType::kF32 ? floats(values, {count}) : halves(values, {count})).data;
    return cache;
  }
  std::vector<float> scales(cache.scale_count());
  for (size_t i = 0; i < scales.size(); i++) scales[i] = 0.02f + 0.01f * static_cast<float>(i % 3);
  std::vector<f8> bytes(values.size());
  for (size_t i = 0; i < bytes.size(); i++) bytes[i] = to_f8(values[i] / scales[i / cache.tile_elements() % scales.size()]);
  cache.data = put(bytes.data(), dtype, {count}).data;
  cache.scales = floats(scales, {cache.scale_count()}).as<float>();
  return cache;
}

std::vector<float> Arena::read(const void* data, DType dtype, int64_t count) {
  std::vector<float> values(count);
  if (dtype == DType::kBf16) {
    std::vector<bf16> raw(count);
    ops.download(raw.data(), data, raw.size() * sizeof(bf16));
    std::transform(raw.begin(), raw.end(), values.begin(), [](bf16 x) { return to_f32(x); });
  } else if (dtype == DType::kF8E4m3) {
    std::vector<f8> raw(count);
    ops.download(raw.data(), data, raw.size());
    std::transform(raw.begin(), raw.end(), values.begin(), [](f8 x) { return to_f32(x); });
  } else if (dtype == DType::kI32) {
    std::vector<int32_t> raw(count);
    ops.download(raw.data(), data, raw.size() * sizeof(int32_t));
    std::copy(raw.begin(), raw.end(), values.begin());
  } else {
    ops.download(values.data(), data, values.size() * sizeof(float));
  }
  return values;
}

std::vector<float> Arena::read(const View& view) { return read(view.data, view.dtype, view.numel()); }
std::vector<float> Arena::read(const KvCache& kv) { return read(kv.data, kv.dtype, kv.pages * kv.page_elements()); }

void Arena::check_guards() {
  std::vector<unsigned char> after(kGuard);
  for (const Piece& piece : pieces_) {
    ops.download(after.data(), static_cast<char*>(piece.memory.data()) + piece.bytes, kGuard);
    expect(after == guard(), "something wrote past the end of a tensor of ", piece.bytes, " bytes");
  }
}

}  // namespace m2::kernels
