// One token from each row of logits, as SampleArgs says and as the CPU draws it: scores are float32, the probabilities and noise that decide are float64. No
// row is sorted or written back.
//   prepare       a warp per two groups of 128 ids: the largest of their logits and scores and, where options ask for them, sums and reaches. Reads the logits
//                 once (and what a row has of history, mask and bans), writes 8 to 28 bytes per group.
//   draw          a block per row: reads those again, and of the logits the groups that can matter, with M2's defaults about 40 of 1563.
//   alternatives  a block per row, where any are wanted: the best of the raw logits, 1024 at a time.
// With V = 200,064 and M2's defaults 800 KB per row must move; 850 KB do, and with bans 875.
#include "cuda/launch.h"
#include "cuda/launchers.h"
#include "cuda/ptx/launch.h"
#include "cuda/sampling/draw.h"

namespace m2::cuda {
namespace {

constexpr int kPrepareThreads = 256;
constexpr int kGroupsOfWarp = 2;  // whose loads are under way together
constexpr int kRowThreads = 512;

__device__ __forceinline__ void prepare_group(const SampleTask& task, const SamplingOptions& o, const ScoreRow& row, int64_t n, int group, float (&x)[4]) {
  const bool writes = threadIdx.x % kWarp == 0;
  const int64_t at = n * task.groups + group;
  const uint32_t logit_key = group_key(x);
  if (writes) task.logit_keys[at] = logit_key;
  if (o.logprobs >= 0 && is_finite_key(logit_key)) {
    const double sum = group_sum(x, Exponent(key_score(logit_key), 1));
    if (writes) task.logit_sums[at] = sum;
  }
  row.adjust(group, x);
  const uint32_t key = group_key(x);
  if (writes) task.keys[at] = key;
  if (o.temperature == 0 || is_listed(o, task.vocab) || !is_finite_key(key)) return;
  const Exponent exponent(key_score(key), o.temperature);
  const float reach = group_reach(x, exponent, random_words(o, first_id(group)));
  if (writes) task.reaches[at] = reach;
  if (!(o.top_p < 1)) return;
  const double sum = group_sum(x, exponent);
  if (writes) task.sums[at] = sum;
}

// blocks: of one row
__global__ void __launch_bounds__(kPrepareThreads) sample_prepare_kernel(const SampleTask task, int blocks) {
  ptx::let_next_kernel_start();
  ptx::wait_for_previous_kernel();
  const int64_t n = blockIdx.x / blocks;
  const int first = (blockIdx.x % blocks * blockDim.x + threadIdx.x) / kWarp * kGroupsOfWarp;
  float x[kGroupsOfWarp][4];
#pragma unroll
  for (int i = 0; i < kGroupsOfWarp; i++) load_logits(task.logits + n * task.vocab, first + i, task.vocab, x[i]);
  if (task.rows[n] < 0) return;
  const SamplingOptions o = task.options[n];
  const ScoreRow row(task, n, o);
#pragma unroll
  for (int i = 0; i < kGroupsOfWarp; i++) {
    if (first + i < task.groups) prepare_group(task, o, row, n, first + i, x[i]);
  }
}

__device__ __forceinline__ RowFacts facts_of(const uint32_t* keys, const uint32_t* logit_keys, int groups, RowFacts (&partial)[kWarp]) {
  RowFacts facts;
  for (int g = threadIdx.x; g < groups; g += blockDim.x) facts.add(keys[g], logit_keys[g]);
  return block_reduce(facts, partial, RowFacts::of_warp);
}

// The logarithm of the sum of e^logit over the row.
__device__ __forceinline__ double log_sum(const SampleTask& task, int64_t n, uint32_t top, double (&partial)[kWarp]) {
  const double largest = key_score(top);
  double total = 0;
  for (int g = threadIdx.x; g < task.groups; g += blockDim.x) {
    const uint32_t key = task.logit_keys[n * task.groups + g];
    if (key > kNever) total += task.logit_sums[n * task.groups + g] * exp(key_score(key) - largest);
  }
  return largest + log(block_reduce(total, partial, warp_total));
}

// The lowest id of the largest score.
__device__ __forceinline__ int argmax(const Groups<true>& groups, uint32_t top, Best (&partial)[kWarp]) {
  Best best;
  groups.each_rank(rank_of(top, -1), [&](uint64_t rank) {
    if (rank_key(rank) == top) best.offer(0, rank);
  });
  return rank_id(block_reduce(best, partial, warp_best).rank);
}

__global__ void __launch_bounds__(kRowThreads, 1) sample_draw_kernel(const SampleTask task) {
  M2_SHARED(DrawShared, s);
  M2_SHARED(RowFacts, partial, [kWarp]);
  ptx::let_next_kernel_start();
  ptx::wait_for_previous_kernel();
  const int64_t n = blockIdx.x;
  const int receiver = task.rows[n];
  if (receiver < 0) return;
  const uint32_t* keys = task.keys + n * task.groups;
  const RowFacts facts = facts_of(keys, task.logit_keys + n * task.groups, task.groups, partial);
  const SamplingOptions o = task.options[n];
  const ScoreRow row(task, n, o);
  int id;
  if (!is_finite_key(facts.top_logit) || facts.top == kNanKey) id = -1;
  else if (task.targets) id = task.targets[n];
  else if (facts.top == kNever) id = row.has_mask() ? -2 : -1;
  else if (o.temperature == 0 || facts.top == kInfiniteKey) id = argmax({row, keys, task.groups}, facts.top, s.bests);
  else id = Draw(s, task, n, o, row, facts).token();

  if (id >= 0 && o.logprobs >= 0) {
    const double whole = log_sum(task, n, facts.top_logit, s.totals);
    if (threadIdx.x == 0) task.logprobs[n] = static_cast<float>(row.logit(id) - whole);
  }
  if (threadIdx.x > 0) return;
  task.ids[n] = id;
  if (task.targets) return;
  task.last_ids[receiver] = max(id, 0);
  if (id >= 0 && has_penalties(o)) task.history[static_cast<int64_t>(receiver) * task.vocab + id] += 2;
}

// From place `at` to `count` the ids whose logit is -inf, in their order. By one warp.
__device__ __forceinline__ void write_impossible(const SampleTask& task, const ScoreRow& row, int64_t n, int at, int count) {
  const int lane = threadIdx.x;
  for (int begin = 0; at < count && begin < task.vocab; begin += kWarp) {
    const int id = begin + lane;
    const bool impossible = id < task.vocab && score_key(row.logit(id)) == kNever;
    const unsigned all = __ballot_sync(kFullMask, impossible);
    const int place = at + __popc(all & ((1u << lane) - 1));
    if (impossible && place < count) {
      task.top_ids[n * task.alternatives + place] = id;
      task.top_logprobs[n * task.alternatives + place] = -__builtin_inff();
    }
    at += __popc(all);
  }
}

__global__ void __launch_bounds__(kRowThreads, 1) sample_alternatives_kernel(const SampleTask task) {
  M2_SHARED(RankList, list);
  M2_SHARED(RowFacts, partial, [kWarp]);
  M2_SHARED(double, totals, [kWarp]);
  ptx::let_next_kernel_start();
  ptx::wait_for_previous_kernel();
  const int64_t n = blockIdx.x;
  if (task.rows[n] < 0 || task.ids[n] < 0 || task.options[n].logprobs <= 0) return;
  const SamplingOptions o = task.options[n];
  const ScoreRow row(task, n, o);
  const uint32_t* keys = task.logit_keys + n * task.groups;
  const RowFacts facts = facts_of(keys, keys, task.groups, partial);
  const double whole = log_sum(task, n, facts.top, totals);
  const int count = min(o.logprobs, task.alternatives);
  uint64_t high = highest_rank(facts.top);
  int written = 0, found = 0, wanted = 0;
  for (; written < count && found == wanted; written += found) {
    wanted = min(count - written, kMostListed);
    const uint64_t* best = list_best(list, Groups<false>{row, keys, task.groups}, facts, high, wanted, found);
    for (int i = threadIdx.x; i < found; i += blockDim.x) {
      task.top_ids[n * task.alternatives + written + i] = rank_id(best[i]);
      task.top_logprobs[n * task.alternatives + written + i] = static_cast<float>(rank_score(best[i]) - whole);
    }
    if (found > 0) high = best[found - 1] - 1;
  }
  if (threadIdx.x < kWarp) write_impossible(task, row, n, written, count);
}

int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

constexpr size_t kGroupBytes = 2 * sizeof(double) + 2 * sizeof(uint32_t) + sizeof(float);

template <class T>
T* pointer(const View& view) {
  return view ? view.as<T>() : nullptr;
}

SampleTask task_of(const SampleArgs& a) {
  SampleTask task{};
  task.logits = a.logits.as<float>();
  task.banned = pointer<int32_t>(a.banned);
  task.options = a.options;
  task.rows = a.rows.as<int32_t>();
  task.last_ids = a.last_ids.as<int32_t>();
  task.history = pointer<int32_t>(a.history);
  task.bias_offsets = pointer<int32_t>(a.bias_offsets);
  task.bias_ids = pointer<int32_t>(a.bias_ids);
  task.bias_values = pointer<float>(a.bias_values);
  task.mask_index = pointer<int32_t>(a.mask_index);
  task.mask_bits = pointer<int32_t>(a.mask_bits);
  task.targets = pointer<int32_t>(a.targets);
  task.ids = a.ids.as<int32_t>();
  task.logprobs = pointer<float>(a.logprobs);
  task.top_ids = pointer<int32_t>(a.top_ids);
  task.top_logprobs = pointer<float>(a.top_logprobs);
  task.vocab = static_cast<int>(a.logits.size(1));
  task.words = static_cast<int>(parts(task.vocab, 32));
  task.groups = static_cast<int>(parts(task.vocab, kGroup));
  task.alternatives = a.top_ids ? static_cast<int>(a.top_ids.size(1)) : 0;
  return task;
}

}  // namespace

size_t sample_scratch(const Workload& w) { return w.samples * parts(w.vocab, kGroup) * kGroupBytes; }

void sample(const Machine& m, const SampleArgs& a) {
  SampleTask task = task_of(a);
  const int64_t rows = a.logits.size(0), groups = rows * task.groups;
  task.logit_sums = static_cast<double*>(m.scratch(groups * kGroupBytes));
  task.sums = task.logit_sums + groups;
  task.logit_keys = reinterpret_cast<uint32_t*>(task.sums + groups);
  task.keys = task.logit_keys + groups;
  task.reaches = reinterpret_cast<float*>(task.keys + groups);

  // A vocabulary of few groups gets small blocks.
  const auto threads = [](int64_t warps, int64_t most) { return static_cast<unsigned>(std::min(warps * kWarp, most)); };
  const int64_t warps = parts(task.groups, kGroupsOfWarp), blocks = parts(warps * kWarp, kPrepareThreads);
  launch<sample_prepare_kernel>(m, {.grid = static_cast<unsigned>(rows * blocks), .block = threads(warps, kPrepareThreads)}, task, static_cast<int>(blocks));
  const Launch by_row{.grid = static_cast<unsigned>(rows), .block = threads(task.groups, kRowThreads)};
  launch<sample_draw_kernel>(m, by_row, task);
  if (task.alternatives > 0) launch<sample_alternatives_kernel>(m, by_row, task);
}

}  // namespace m2::cuda
