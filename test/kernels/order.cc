// Calls behind one another whose kernels could begin too early, and what the host waits for.
#include <cstring>
#include <numeric>

#include "kernels/cases.h"

namespace m2::kernels {
namespace {

using Run = std::function<void(const std::function<void()>&)>;

std::vector<int32_t> counted(int64_t n, int32_t first = 0) {
  std::vector<int32_t> numbers(n);
  std::iota(numbers.begin(), numbers.end(), first);
  return numbers;
}

SamplingOptions penalised(uint32_t position) {
  return {.temperature = 1, .top_p = 1, .min_p = 0, .repetition_penalty = 1, .presence_penalty = 0, .frequency_penalty = 1, .top_k = 0, .logprobs = -1, .seed = 3, .position = position,
          .sample_index = 0};
}

// The tables change behind a step that reads them, and in front of one.
Result pages_change(Arena& a, const Run& run) {
  constexpr int64_t B = 3, H = 4, D = 64, S = 16, kPages = 8;
  Random r(31);
  const KvCache kv = a.kv(DType::kBf16, 2 * kPages, 1, 1, S, D, rounded(r.normals(2 * kPages * 2 * S * D)));
  const View q = a.act(r.normals(B * H * D), {B, H, D}), before = a.act_out({B, H * D}), after = a.act_out({B, H * D});
  std::vector<int32_t> tables, updates;
  for (int32_t b = 0; b < B; b++) {
    for (int32_t page = 0; page < 2; page++) {
      tables.push_back(2 * b + page);
      updates.insert(updates.end(), {b, page, static_cast<int32_t>(kPages) + 2 * b + page});
    }
  }
  const View table_view = a.ints(tables, {B, 2}), update_view = a.ints(updates, {2 * B, 3}), rows = a.ints(counted(B)), cu = a.ints(counted(B + 1)), lens = a.ints({20, 32, 1});
  run([&] {
    a.ops.attention({q, kv, 0, table_view, rows, cu, lens, 1, 0.125f, before});
    a.ops.set_pages({update_view, table_view});
    a.ops.attention({q, kv, 0, table_view, rows, cu, lens, 1, 0.125f, after});
  });
  Result result{a.read(before), {}};
  const std::vector<float> more = a.read(after);
  result.numbers.insert(result.numbers.end(), more.begin(), more.end());
  return result;
}

// A row is sampled, starts anew, is sampled again, and its id embedded.
Result histories_start(Arena& a, const Run& run) {
  constexpr int64_t N = 3, V = 700, C = 96;
  Random r(32);
  std::vector<SamplingOptions> options;
  for (uint32_t n = 0; n < N; n++) options.push_back(penalised(n));
  std::vector<int32_t> seen(N * V), prompt(60);
  for (int32_t& s : seen) s = static_cast<int32_t>(r.below(4));
  for (int32_t& id : prompt) id = static_cast<int32_t>(r.below(V));
  SampleArgs first;
  first.logits = a.floats(r.normals(N * V, 0.5f), {N, V});
  first.options = a.records(options);
  first.rows = a.ints(counted(N));
  first.last_ids = a.ints(std::vector<int32_t>(N, 0));
  first.history = a.ints(seen, {N, V});
  first.ids = a.out(DType::kI32, {N});
  SampleArgs second = first;
  second.ids = a.out(DType::kI32, {N});
  const StartHistoriesArgs start{a.ints({2, 0}), a.ints({0, 30, 60}), a.ints({10, 0}), a.ints(prompt), first.history};
  const EmbedArgs embed{a.ints({-1, -2, -3}), first.last_ids, a.halves(r.normals(V * C), {V, C}), a.out(DType::kF32, {N, C})};
  run([&] {
    a.ops.sample(first);
    a.ops.start_histories(start);
    a.ops.sample(second);
    a.ops.embed(embed);
  });
  Result result{a.read(embed.out), {}};
  for (const View& ints : {first.ids, second.ids, first.history}) {
    const std::vector<float> more = a.read(ints);
    result.exact.insert(result.exact.end(), more.begin(), more.end());
  }
  return result;
}

// Host memory is written again, and read, once a mark has been passed.
Result marks(Arena& a, const Run& run) {
  constexpr size_t kCount = 3000, kBytes = kCount * sizeof(int32_t);
  Backend& ops = a.ops;
  const Buffer from = ops.allocate_host(kBytes), to = ops.allocate_host(2 * kBytes), device = ops.allocate(2 * kBytes);
  char *whole = static_cast<char*>(device.data()), *back = static_cast<char*>(to.data());
  std::vector<float> exact;
  run([&] {
    for (int32_t turn = 0; turn < 2; turn++) {
      const std::vector<int32_t> numbers = counted(kCount, 7 * turn);
      std::memcpy(from.data(), numbers.data(), kBytes);
      ops.upload_later(whole, from.data(), kBytes);
      ops.copy(whole + kBytes, whole, kBytes);
      const int64_t mark = ops.set_mark();
      if (turn == 0) ops.wait(mark);
      else while (!ops.passed(mark)) {}
    }
    ops.download_later(back, whole, 2 * kBytes);
    ops.wait(ops.set_mark());
  });
  std::vector<int32_t> numbers(2 * kCount);
  std::memcpy(numbers.data(), back, 2 * kBytes);
  return {{}, {numbers.begin(), numbers.end()}};
}

// More than both of the buffers that copies go through.
Result large_copy(Arena& a, const Run& run) {
  std::vector<int32_t> numbers = counted(5 << 20);
  const size_t bytes = numbers.size() * sizeof(int32_t);
  const Buffer device = a.ops.allocate(bytes);
  std::vector<int32_t> back(numbers.size());
  run([&] {
    a.ops.upload(device.data(), numbers.data(), bytes);
    a.ops.download(back.data(), device.data(), bytes);
  });
  return {{}, {back == numbers ? 1.f : 0.f}};
}

// Scratch memory grows while an op that works in it may be running.
Result scratch_grows(Arena& a, const Run& run) {
  constexpr int64_t V = 513, kRows = 40;
  Random r(34);
  const std::unique_ptr<Backend> fresh = make_backend(a.ops.device(), 1);
  Arena own(*fresh);
  const auto sample = [&](int64_t rows) {
    SampleArgs args;
    args.logits = own.floats(r.normals(rows * V, 2), {rows, V});
    args.options = own.records(std::vector<SamplingOptions>(rows, penalised(0)));
    args.rows = own.ints(counted(rows));
    args.last_ids = own.ints(std::vector<int32_t>(rows, 0));
    args.history = own.ints(std::vector<int32_t>(rows * V, 0), {rows, V});
    args.ids = own.out(DType::kI32, {rows});
    return args;
  };
  const SampleArgs few = sample(1), many = sample(kRows);
  run([&] {
    fresh->sample(few);
    fresh->sample(many);
  });
  Result result{{}, own.read(few.ids)};
  const std::vector<float> more = own.read(many.ids);
  result.exact.insert(result.exact.end(), more.begin(), more.end());
  return result;
}

Result timed(Arena& a, const Run& run) {
  Random r(35);
  const View x = a.floats(r.normals(2 * 64), {2, 64}), weight = a.floats(r.normals(64), {64}), out = a.out(DType::kF32, {2, 64});
  double microseconds = 0;
  run([&] { microseconds = a.ops.time(2, [&](int) { a.ops.rms_norm({x, {}, weight, 1e-6f, out, {}}); }); });
  return {a.read(out), {microseconds > 0 ? 1.f : 0.f}};
}

}  // namespace

std::vector<Case> order_cases() {
  return {{"set_pages", "behind attention and in front of it", 0, pages_change},
          {"start_histories", "behind a sample and in front of one", 0, histories_start},
          {"copies", "between marks", 0, marks},
          {"copies", "20 MiB there and back", 0, large_copy},
          {"sample", "while scratch memory grows", 0, scratch_grows},
          {"time", "rms_norm, twice", 0, timed}};
}

}  // namespace m2::kernels
