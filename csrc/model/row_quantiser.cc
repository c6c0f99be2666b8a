#include "model/row_quantiser.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "core/error.h"
#include "model/quantize.h"

namespace m2 {
namespace {

// A row as the bf16 numbers that it means.
void row_as_f32(const MatrixRows& rows, int64_t row, float* to) {
  const int64_t k = rows.values.size(1);
  const auto each = [&](const auto* from, const auto& value) {
    for (int64_t i = 0; i < k; i++) to[i] = to_f32(to_bf16(value(from[row * k + i], i)));
  };
  const auto plain = [](auto x, int64_t) { return to_f32(x); };
  switch (rows.values.dtype) {
    case DType::kF32: return each(rows.values.as<float>(), plain);
    case DType::kBf16: return each(rows.values.as<bf16>(), plain);
    case DType::kF16: return each(rows.values.as<f16>(), plain);
    default: {
      const float* scales = rows.scales.as<float>() + row / kScaleBlock * rows.scales.size(1);
      return each(rows.values.as<f8>(), [&](f8 x, int64_t i) { return to_f32(x) * scales[i / kScaleBlock]; });
    }
  }
}

constexpr int64_t kRowsAtOnce = 16;

}  // namespace

MatrixRows RowQuantiser::quantise(const MatrixRows& rows) {
  const int64_t count = rows.values.size(0), k = rows.values.size(1), groups = int4_groups(k);
  codes_.resize(static_cast<size_t>(count * k / 2));
  scales_.resize(static_cast<size_t>(count * groups));
  const int64_t batches = (count + kRowsAtOnce - 1) / kRowsAtOnce;
  const int64_t workers = std::clamp<int64_t>(std::thread::hardware_concurrency(), 1, batches);
  std::atomic<bool> is_finite{true};
  const auto work = [&](int64_t worker) {
    std::vector<float> numbers(static_cast<size_t>(kRowsAtOnce * k));
    Int4Error error;
    for (int64_t first = batches * worker / workers * kRowsAtOnce; first < std::min(count, batches * (worker + 1) / workers * kRowsAtOnce); first += kRowsAtOnce) {
      const int64_t some = std::min(kRowsAtOnce, count - first);
      for (int64_t row = 0; row < some; row++) row_as_f32(rows, first + row, numbers.data() + row * k);
      if (quantize_int4(numbers.data(), some, k, codes_.data() + first * k / 2, scales_.data() + first * groups, error) < 0) continue;
      is_finite = false;
      return;
    }
  };
  std::vector<std::thread> threads;
  for (int64_t worker = 1; worker < workers; worker++) threads.emplace_back(work, worker);
  work(0);
  for (std::thread& thread : threads) thread.join();
  if (!is_finite) fail("BAD_CHECKPOINT", "expected finite numbers to quantise, found one that is not");
  return {.values = View::of(codes_.data(), {count, k / 2}), .scales = View::of(scales_.data(), {count, groups}), .group = kInt4Group};
}

}  // namespace m2
