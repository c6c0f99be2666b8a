#include "kernels/arena.h"

namespace m2::kernels {
namespace {

const std::vector<unsigned char>& guard() {
  static const std::vector<unsigned char> ones(Arena::kGuard, 0xff);
  return ones;
}

// Bytes of all kinds, and scales so that numbers come out as large as `rows`, about.
void pack_stored(Backend& ops, Weight& weight, int64_t expert, const float* rows) {
  const int64_t n = weight.n, k = weight.k;
  const bool is_fp8 = weight.type.format == WeightFormat::kFp8;
  const float size = 1 / std::sqrt(static_cast<float>(k));
  const auto bits = [&](int64_t i) { return static_cast<uint8_t>(mixed(to_bf16(rows[i]).bits + static_cast<uint64_t>(i))); };
  if (is_fp8) {
    std::vector<f8> numbers(n * k);
    for (int64_t i = 0; i < n * k; i++) numbers[i] = f8{static_cast<uint8_t>((bits(i) & 0x7f) == 0x7f ? 0 : bits(i))};
    std::vector<float> scales(groups_of(n, kScaleBlock) * groups_of(k, kScaleBlock));
    for (size_t i = 0; i < scales.size(); i++) scales[i] = size / 100 * (1 + static_cast<float>(i % 5));
    ops.pack(weight, expert, 0, {.values = View::of(numbers.data(), {n, k}), .scales = View::of(scales.data(), {groups_of(n, kScaleBlock), groups_of(k, kScaleBlock)})});
    return;
  }
  const int64_t groups = groups_of(k, weight.type.group);
  std::vector<uint8_t> codes(n * k / 2), zeros(n * groups);
  for (int64_t i = 0; i < n * k / 2; i++) codes[i] = bits(i);
  std::vector<bf16> scales(n * groups);
  for (int64_t i = 0; i < n * groups; i++) {
    scales[i] = to_bf16((i % 3 == 2 ? -1 : 1) * size / 4 * (1 + static_cast<float>(i % 5) / 4));
    zeros[i] = static_cast<uint8_t>(i % 17);
  }
  MatrixRows stored{.values = View::of(codes.data(), {n, k / 2}), .scales = View::of(scales.data(), {n, groups}), .group = weight.type.group};
  if (weight.type.zeros) stored.zeros = View::of(zeros.data(), {n, groups});
  ops.pack(weight, expert, 0, stored);
}

}  // namespace

void* Arena::place(const void* values, size_t bytes) {
  Piece& piece = pieces_.emplace_back(Piece{ops.allocate(bytes + kGuard), bytes});
  ops.upload(piece.memory.data(), values, bytes);
  ops.upload(static_cast<char*>(piece.memory.data()) + bytes, guard().data(), kGuard);
  return piece.memory.data();
}

Weight Arena::weight(int64_t experts, int64_t n, int64_t k, WeightLayout layout, const std::vector<float>& values, WeightType type) {
  Weight weight = ops.allocate_weight(experts, n, k, layout, type);
  for (int64_t e = 0; e < experts; e++) {
    const float* rows = values.data() + e * n * k;
    if (type.format == WeightFormat::kBf16) ops.pack(weight, e, 0, {.values = View::of(rows, {n, k})});
    else pack_stored(ops, weight, e, rows);
  }
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
