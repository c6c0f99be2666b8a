// Packing, as far as it is the same for all backends: what comes is checked, and what a weight is not held as becomes bf16.
#include "core/weight.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/check.h"
#include "core/fp8_rows.h"

namespace m2 {
namespace {

constexpr int64_t kPanelRows = 16;  // that backends keep together: FP8 and int4 come in whole ones

const char* name_of(WeightFormat format) {
  constexpr const char* kNames[] = {"bf16", "FP8", "int4"};
  return kNames[static_cast<int>(format)];
}

bool is_group(int64_t group) { return group == 32 || group == 64 || group == 128; }

WeightFormat format_of(const MatrixRows& rows) {
  return rows.values.dtype == DType::kU8 ? WeightFormat::kInt4 : rows.values.dtype == DType::kF8E4m3 ? WeightFormat::kFp8 : WeightFormat::kBf16;
}

// What files hold is not a bug of ours: BAD_CHECKPOINT, to which the caller adds whose it is.
template <class... Parts>
void check_content(bool holds, const Parts&... parts) {
  if (!holds) fail("BAD_CHECKPOINT", parts...);
}

// Kernels count on numbers, and on room for scales times a power of 2.
constexpr float kScaleLimit = 128;

template <class T>
void check_scales(const View& scales) {
  const T *values = scales.as<T>(), *end = values + scales.numel();
  const T* wrong = std::find_if(values, end, [](T scale) { return !(std::abs(to_f32(scale)) < kScaleLimit); });
  if (wrong != end) check_content(false, "expected scales of magnitudes below ", kScaleLimit, ", found ", to_f32(*wrong));
}

void check_rows(const Check& check, const MatrixRows& rows, int64_t k) {
  const View& values = rows.values;
  const WeightFormat format = format_of(rows);
  check.that(values.dtype != DType::kI32, "values must be f32, bf16, f16, f8_e4m3 or u8 codes, found i32");
  check.rank(values, "values", values.dtype, 2);
  const int64_t count = values.size(0);
  check.view(values, "values", values.dtype, {count, format == WeightFormat::kInt4 ? k / 2 : k});
  if (format == WeightFormat::kFp8) {
    check.view(rows.scales, "scales", DType::kF32, {groups_of(count, kScaleBlock), groups_of(k, kScaleBlock)});
    check_scales<float>(rows.scales);
    bool has_nan = false;
    for (const f8 *x = values.as<f8>(), *end = x + values.numel(); x < end; x++) has_nan |= (x->bits & 0x7f) == 0x7f;
    check_content(!has_nan, "expected numbers, found a NaN");
  }
  if (format != WeightFormat::kInt4) return;
  check.that(is_group(rows.group), "group must be 32, 64 or 128, found ", rows.group);
  const int64_t groups = groups_of(k, rows.group);
  check.view(rows.scales, "scales", DType::kBf16, {count, groups});
  check_scales<bf16>(rows.scales);
  if (!rows.zeros) return;
  check.view(rows.zeros, "zeros", DType::kU8, {count, groups});
  const uint8_t *zeros = rows.zeros.as<uint8_t>(), *end = zeros + count * groups;
  check_content(std::all_of(zeros, end, [](uint8_t zero) { return zero <= 16; }), "expected zeros of at most 16, found more");
}

void dequantize_fp8(const MatrixRows& rows, int64_t first, int64_t count, bf16* to) {
  const int64_t k = rows.values.size(1), blocks = rows.scales.size(1);
  const f8* from = rows.values.as<f8>() + first * k;
  for (int64_t b = 0; b < blocks; b++) {
    const float scale = rows.scales.as<float>()[first / kScaleBlock * blocks + b];
    std::array<bf16, 256> products;
    for (int i = 0; i < 256; i++) products[static_cast<size_t>(i)] = to_bf16(to_f32(f8{static_cast<uint8_t>(i)}) * scale);
    for (int64_t row = 0; row < count; row++) {
      for (int64_t i = row * k + b * kScaleBlock, end = row * k + std::min(k, (b + 1) * kScaleBlock); i < end; i++) to[i] = products[from[i].bits];
    }
  }
}

void dequantize_int4(const MatrixRows& rows, int64_t first, int64_t count, bf16* to) {
  const int64_t half = rows.values.size(1), groups = rows.scales.size(1);
  for (int64_t row = first; row < first + count; row++) {
    const uint8_t* from = rows.values.as<uint8_t>() + row * half;
    bf16* out = to + (row - first) * 2 * half;
    for (int64_t g = 0; g < groups; g++) {
      const float scale = to_f32(rows.scales.as<bf16>()[row * groups + g]);
      const int zero = rows.zeros ? rows.zeros.as<uint8_t>()[row * groups + g] : kMiddleCode;
      std::array<bf16, 16> products;
      for (int code = 0; code < 16; code++) products[static_cast<size_t>(code)] = to_bf16(static_cast<float>(code - zero) * scale);
      for (int64_t i = g * rows.group / 2, end = std::min(half, (g + 1) * rows.group / 2); i < end; i++) {
        out[2 * i] = products[from[i] & 15];
        out[2 * i + 1] = products[from[i] >> 4];
      }
    }
  }
}

}  // namespace

void write_as_bf16(const MatrixRows& rows, int64_t first, int64_t count, bf16* to) {
  const int64_t at = first * rows.values.size(1), numbers = count * rows.values.size(1);
  switch (rows.values.dtype) {
    case DType::kU8: return dequantize_int4(rows, first, count, to);
    case DType::kF8E4m3: return dequantize_fp8(rows, first, count, to);
    case DType::kF32: std::transform(rows.values.as<float>() + at, rows.values.as<float>() + at + numbers, to, [](float x) { return to_bf16(x); }); return;
    case DType::kF16: std::transform(rows.values.as<f16>() + at, rows.values.as<f16>() + at + numbers, to, [](f16 x) { return to_bf16(to_f32(x)); }); return;
    default: std::copy_n(rows.values.as<bf16>() + at, numbers, to);
  }
}

RandomRows::RandomRows(const Weight& w) : size(static_cast<float>(std::sqrt(3.0 / static_cast<double>(w.k)))) {
  constexpr float kLargestF8 = 448, kCodes = 7.5f;  // what a size of 1 is in codes
  const int64_t groups = w.type.format == WeightFormat::kInt4 ? groups_of(w.k, w.type.group) : groups_of(w.k, kScaleBlock);
  rows.values = View(nullptr, DType::kBf16, {w.n, w.k});
  if (w.type.format == WeightFormat::kFp8) {
    rows.values.dtype = DType::kF8E4m3;
    scales_.assign(static_cast<size_t>(groups_of(w.n, kScaleBlock) * groups), size / kLargestF8);
    rows.scales = View::of(scales_.data(), {groups_of(w.n, kScaleBlock), groups});
    size = kLargestF8;
  } else if (w.type.format == WeightFormat::kInt4) {
    rows.values = View(nullptr, DType::kU8, {w.n, w.k / 2});
    rows.group = w.type.group;
    code_scales_.assign(static_cast<size_t>(w.n * groups), to_bf16(size / kCodes));
    rows.scales = View::of(code_scales_.data(), {w.n, groups});
    if (w.type.zeros) zeros_.assign(static_cast<size_t>(w.n * groups), kMiddleCode);
    if (w.type.zeros) rows.zeros = View::of(zeros_.data(), {w.n, groups});
  }
}

Weight Backend::allocate_weight(int64_t experts, int64_t n, int64_t k, WeightLayout layout, WeightType type) {
  const Check check("allocate_weight", false);
  check.at_least(experts, "experts", 1);
  check.at_least(n, "n", 1);
  check.multiple_of_step(k, "k");
  if (layout == WeightLayout::kGateUp) check.that(n % (2 * kStep) == 0, "n of gate and up rows must be twice a multiple of ", kStep, ", found ", n);
  check.that(takes(type.format), "format must be one that ", device(), " takes, found ", name_of(type.format));
  if (type.format == WeightFormat::kInt4) check.that(is_group(type.group), "group must be 32, 64 or 128, found ", type.group);
  if (type.fp8_rows) {
    check.that(type.format != WeightFormat::kBf16, "format must be FP8 or int4 for rows in FP8, found bf16");
    check.that(k % kRowBlock == 0, "k must be a multiple of ", kRowBlock, " for rows in FP8, found ", k);
  }
  return {allocate(weight_bytes(experts, n, k, type)), experts, n, k, layout, type};
}

void Backend::pack(Weight& weight, int64_t expert, int64_t first_row, const MatrixRows& rows) {
  const Check check("pack", false);
  check.that(weight.data.data() != nullptr, "weight must be allocated, found none");
  check.in_range(expert, "expert", 0, weight.experts - 1);
  check_rows(check, rows, weight.k);
  const int64_t count = rows.values.size(0);
  check.in_range(first_row, "first_row", 0, weight.n - count);
  if (count == 0) return;
  const WeightFormat found = format_of(rows), held = weight.type.format;
  if (held == WeightFormat::kBf16) {
    if (found == WeightFormat::kBf16) return do_pack(weight, expert, first_row, rows);
    std::vector<bf16> plain(static_cast<size_t>(std::min(count, kScaleBlock) * weight.k));
    for (int64_t first = 0; first < count; first += kScaleBlock) {
      const int64_t part = std::min(kScaleBlock, count - first);
      write_as_bf16(rows, first, part, plain.data());
      do_pack(weight, expert, first_row + first, {.values = View::of(plain.data(), {part, weight.k})});
    }
    return;
  }
  check.that(found == held, "values of a weight held as ", name_of(held), " must be so too, found ", name_of(found));
  check.that(first_row % kPanelRows == 0, "first_row must be a multiple of ", kPanelRows, " for ", name_of(held), ", found ", first_row);
  check.that(count % kPanelRows == 0 || first_row + count == weight.n, "rows must be a multiple of ", kPanelRows, " for ", name_of(held), ", found ", count);
  if (held == WeightFormat::kFp8) return do_pack(weight, expert, first_row, rows);
  check.that(rows.group == weight.type.group, "group must be the weight's, ", weight.type.group, ", found ", rows.group);
  check.that(weight.type.zeros || !rows.zeros, "zeros must be none, as the weight has none");
  MatrixRows whole = rows;
  std::vector<uint8_t> middle;
  if (weight.type.zeros && !rows.zeros) {
    const int64_t groups = groups_of(weight.k, rows.group);
    middle.assign(static_cast<size_t>(count * groups), kMiddleCode);
    whole.zeros = View::of(middle.data(), {count, groups});
  }
  do_pack(weight, expert, first_row, whole);
}

}  // namespace m2
