#include "model/row_quantiser.h"

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>

#include "core/error.h"

namespace m2 {
namespace {

constexpr int64_t kRowsAtOnce = 16;  // of one block of FP8

}  // namespace

MatrixRows RowQuantiser::quantise(const MatrixRows& rows) {
  const int64_t count = rows.values.size(0), k = columns_of(rows), groups = int4_groups(k);
  const int64_t batches = (count + kRowsAtOnce - 1) / kRowsAtOnce, workers = std::clamp<int64_t>(std::thread::hardware_concurrency(), 1, batches);
  codes_.resize(static_cast<size_t>(count * k / 2));
  scales_.resize(static_cast<size_t>(count * groups));
  std::vector<float> numbers(static_cast<size_t>(workers * kRowsAtOnce * k));
  std::vector<bf16> meant(numbers.size());
  std::vector<Int4Error> errors(static_cast<size_t>(batches));  // by batch, for sums that do not hang on the number of threads
  std::atomic<int64_t> next{0};
  std::atomic<bool> is_finite{true};
  const auto work = [&](int64_t worker) noexcept {
    float* const some = numbers.data() + worker * kRowsAtOnce * k;
    for (int64_t batch = next++; batch < batches; batch = next++) {
      const int64_t first = batch * kRowsAtOnce, end = std::min(count, first + kRowsAtOnce);
      bf16* const half = meant.data() + (some - numbers.data());
      write_as_bf16(rows, first, end - first, half);
      std::transform(half, half + (end - first) * k, some, [](bf16 x) { return to_f32(x); });
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
