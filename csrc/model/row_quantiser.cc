#include "model/row_quantiser.h"

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>

#include "core/error.h"

namespace m2 {

void row_as_f32(const MatrixRows& rows, int64_t row, float* to) {
  const int64_t width = rows.values.size(1);
  const auto each = [&](const auto* from, const auto& value) {
    for (int64_t i = 0; i < width; i++) to[i] = to_f32(to_bf16(value(from[row * width + i], i)));
  };
  const auto plain = [](auto x, int64_t) { return to_f32(x); };
  switch (rows.values.dtype) {
    case DType::kF32: return each(rows.values.as<float>(), plain);
    case DType::kBf16: return each(rows.values.as<bf16>(), plain);
    case DType::kF16: return each(rows.values.as<f16>(), plain);
    case DType::kF8E4m3: {
      const float* scales = rows.scales.as<float>() + row / kScaleBlock * rows.scales.size(1);
      return each(rows.values.as<f8>(), [&](f8 x, int64_t i) { return to_f32(x) * scales[i / kScaleBlock]; });
    }
    default: break;
  }
  const int64_t groups = rows.scales.size(1);
  const uint8_t* pairs = rows.values.as<uint8_t>() + row * width;
  for (int64_t i = 0; i < 2 * width; i++) {
    const int64_t group = row * groups + i / rows.group;
    const int code = pairs[i / 2] >> i % 2 * 4 & 15, zero = rows.zeros ? rows.zeros.as<uint8_t>()[group] : kMiddleCode;
    to[i] = to_f32(to_bf16(static_cast<float>(code - zero) * to_f32(rows.scales.as<bf16>()[group])));
  }
}

constexpr int64_t kRowsAtOnce = 16;

MatrixRows RowQuantiser::quantise(const MatrixRows& rows) {
  const int64_t count = rows.values.size(0), k = columns_of(rows), groups = int4_groups(k);
  const int64_t batches = (count + kRowsAtOnce - 1) / kRowsAtOnce, workers = std::clamp<int64_t>(std::thread::hardware_concurrency(), 1, batches);
  codes_.resize(static_cast<size_t>(count * k / 2));
  scales_.resize(static_cast<size_t>(count * groups));
  std::vector<float> numbers(static_cast<size_t>(workers * kRowsAtOnce * k));
  std::vector<Int4Error> errors(static_cast<size_t>(batches));  // by batch, for sums that do not hang on the number of threads
  std::atomic<int64_t> next{0};
  std::atomic<bool> is_finite{true};
  const auto work = [&](int64_t worker) noexcept {
    float* const some = numbers.data() + worker * kRowsAtOnce * k;
    for (int64_t batch = next++; batch < batches; batch = next++) {
      const int64_t first = batch * kRowsAtOnce, end = std::min(count, first + kRowsAtOnce);
      for (int64_t row = first; row < end; row++) row_as_f32(rows, row, some + (row - first) * k);
      if (quantize_int4(some, end - first, k, codes_.data() + first * k / 2, scales_.data() + first * groups, errors[static_cast<size_t>(batch)]) >= 0) is_finite = false;
    }
  };
  {
    std::vector<std::jthread> threads;  // joined here, whatever happens
    try {
      for (int64_t worker = 1; worker < workers; worker++) threads.emplace_back(work, worker);
    } catch (const std::system_error&) {  // no more threads: those that there are do the work
    }
    work(0);
  }
  if (!is_finite) fail("BAD_CHECKPOINT", "expected finite numbers to quantise, found one that is not");
  for (const Int4Error& error : errors) error_.add(error);
  return {.values = View::of(codes_.data(), {count, k / 2}), .scales = View::of(scales_.data(), {count, groups}), .group = kInt4Group};
}

}  // namespace m2
