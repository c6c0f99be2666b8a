// One token from each row of logits, as SampleArgs says, and as the CPU draws it: scores are float32, probabilities and noise that decide are float64. No row is sorted.
//   prepare       a warp per two groups of 128 ids: their scores' largest and, where options ask for it, sums and reaches. Reads the logits once (and the history, mask
//                 and bans where a row has them) and writes 12 bytes per group, or 28.
//   draw          a block per row: which groups matter tells what `prepare` left; those are read again (M2's defaults: some 40 of 1563 groups).
//   alternatives  a block per row, launched if any alternatives are wanted: the best of the raw logits, 1024 at a time.
// V = 200,064 with M2's defaults must move 0.8 MB per row, and moves 0.84.
#include "cuda/launch.h"
#include "cuda/launchers.h"
#include "cuda/ptx/launch.h"
#include "cuda/sampling/draw.h"

namespace m2::cuda {
namespace {

constexpr int kPrepareThreads = 256;
constexpr int kGroupsOfWarp = 2;  // whose loads are under way together
constexpr int kRowThreads = 512;

// The largest key of a group. The whole warp comes.
__device__ __forceinline__ uint32_t group_key(const float (&x)[4]) {
  return __reduce_max_sync(kFullMask, max(max(score_key(x[0]), score_key(x[1])), max(score_key(x[2]), score_key(x[3]))));
}

__device__ __forceinline__ double group_sum(const float (&x)[4], const Exponent& exponent) {
  double sum = 0;
#pragma unroll
  for (int i = 0; i < 4; i++) sum += expf(exponent(x[i]));
  return warp_total(sum);
}

// -log(-log(1 - v)) is below -log(v + v^2 / 2), and little below it where noise is large.
__device__ __forceinline__ float group_reach(const float (&x)[4], const Exponent& exponent, const std::array<uint32_t, 4>& random) {
  float reach = -__builtin_inff();
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float v = (static_cast<float>(~random[i]) + 0.5f) * 0x1p-32f;
    reach = fmaxf(reach, exponent(x[i]) - __logf(fmaf(0.5f * v, v, v)));
  }
  return key_score(__reduce_max_sync(kFullMask, score_key(reach)));
}

__device__ __forceinline__ bool is_finite_key(uint32_t key) { return key > kNever && key < kInfiniteKey; }

// blocks: of one row
__global__ void __launch_bounds__(kPrepareThreads) sample_prepare_kernel(const SampleTask task, int blocks) {
  ptx::let_next_kernel_start();
  ptx::wait_for_previous_kernel();
  const int64_t n = blockIdx.x / blocks;
  if (task.rows[n] < 0) return;
  const SamplingOptions o = task.options[n];
  const Row row(task, n, o);
  const int warp = (blockIdx.x % blocks * blockDim.x + threadIdx.x) / kWarp, lane = threadIdx.x % kWarp;
  float x[kGroupsOfWarp][4];
#pragma unroll
  for (int i = 0; i < kGroupsOfWarp; i++) row.load(warp * kGroupsOfWarp + i, x[i]);
#pragma unroll
  for (int i = 0; i < kGroupsOfWarp; i++) {
    const int group = warp * kGroupsOfWarp + i;
    if (group >= task.groups) return;
    const int64_t at = n * task.groups + group;
    const uint32_t logit_key = group_key(x[i]);
    if (lane == 0) task.logit_keys[at] = logit_key;
    if (o.logprobs >= 0 && is_finite_key(logit_key)) {
      const double sum = group_sum(x[i], Exponent(key_score(logit_key), 1));
      if (lane == 0) task.logit_sums[at] = sum;
    }
    row.adjust(group, x[i]);
    const uint32_t key = group_key(x[i]);
    if (lane == 0) task.keys[at] = key;
    if (o.temperature == 0 || is_listed(o, task.vocab) || !is_finite_key(key)) continue;
    const Exponent exponent(key_score(key), o.temperature);
    const float reach = group_reach(x[i], exponent, random_words(o, first_id(group) / 4));
    if (lane == 0) task.reaches[at] = reach;
    if (o.top_p < 1) {
      const double sum = group_sum(x[i], exponent);
      if (lane == 0) task.sums[at] = sum;
    }
  }
}

__device__ __forceinline__ Facts facts_of(const uint32_t* keys, const uint32_t* logit_keys, int groups, Facts (&partial)[kWarp]) {
  Facts facts;
  for (int g = threadIdx.x; g < groups; g += blockDim.x) facts.add(keys[g], logit_keys[g]);
  return block_reduce(facts, partial, Facts::of_warp);
}

// The logarithm of the sum of e^logit over the row, in float64.
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
__device__ __forceinline__ int argmax(const SampleTask& task, int64_t n, const Row& row, uint32_t top, Best (&partial)[kWarp]) {
  Best best;
  each_group<true>(row, task.groups, [&](int g) { return task.keys[n * task.groups + g] == top; }, [&](int g, const float(&x)[4]) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (score_key(x[i]) == top) best.offer(0, rank_of(top, first_id(g) + i));
    }
  });
  return rank_id(block_reduce(best, partial, warp_best).rank);
}

__global__ void __launch_bounds__(kRowThreads) sample_draw_kernel(const SampleTask task) {
  M2_SHARED(DrawShared, s);
  M2_SHARED(Facts, partial, [kWarp]);
  ptx::let_next_kernel_start();
  ptx::wait_for_previous_kernel();
  const int64_t n = blockIdx.x;
  const int target = task.rows[n];
  if (target < 0) return;
  const SamplingOptions o = task.options[n];
  const Row row(task, n, o);
  const Facts facts = facts_of(task.keys + n * task.groups, task.logit_keys + n * task.groups, task.groups, partial);
  int id;
  if (facts.top_logit <= kNever || facts.top_logit >= kInfiniteKey || facts.top == kNanKey) id = -1;
  else if (facts.top <= kNever) id = row.has_mask() ? -2 : -1;
  else if (o.temperature == 0 || facts.top == kInfiniteKey) id = argmax(task, n, row, facts.top, s.bests);
  else id = Draw(s, task, n, o, row, facts).token();

  if (id >= 0 && o.logprobs >= 0) {
    const double whole = log_sum(task, n, facts.top_logit, s.totals);
    if (threadIdx.x == 0) task.logprobs[n] = static_cast<float>(row.logit(id) - whole);
  }
  if (threadIdx.x > 0) return;
  task.ids[n] = id;
  task.last_ids[target] = max(id, 0);
  if (id >= 0 && has_penalties(o)) task.history[static_cast<int64_t>(target) * task.vocab + id] += 2;
}

// Ids whose logit is -inf, in their order, from the place `at` to `count`. By one warp.
__device__ __forceinline__ void write_impossible(const SampleTask& task, const Row& row, int64_t n, int at, int count) {
  const int lane = threadIdx.x;
  for (int begin = 0; at < count; begin += kWarp) {
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

__global__ void __launch_bounds__(kRowThreads) sample_alternatives_kernel(const SampleTask task) {
  M2_SHARED(List, list);
  M2_SHARED(Facts, partial, [kWarp]);
  M2_SHARED(double, totals, [kWarp]);
  ptx::let_next_kernel_start();
  ptx::wait_for_previous_kernel();
  const int64_t n = blockIdx.x;
  if (task.rows[n] < 0 || task.ids[n] < 0 || task.options[n].logprobs <= 0) return;
  const SamplingOptions o = task.options[n];
  const Row row(task, n, o);
  const uint32_t* keys = task.logit_keys + n * task.groups;
  const Facts facts = facts_of(keys, keys, task.groups, partial);
  const double whole = log_sum(task, n, facts.top, totals);
  uint64_t high = uint64_t{facts.top} << 32 | 0xffffffffu;
  int written = 0;
  while (written < o.logprobs) {
    const int wanted = min(o.logprobs - written, kMostListed);
    int found;
    const uint64_t* best = list_best<false>(list, row, keys, task.groups, facts, high, wanted, found);
    for (int i = threadIdx.x; i < found; i += blockDim.x) {
      task.top_ids[n * task.alternatives + written + i] = rank_id(best[i]);
      task.top_logprobs[n * task.alternatives + written + i] = static_cast<float>(rank_score(best[i]) - whole);
    }
    written += found;
    if (found < wanted) break;
    high = best[found - 1] - 1;
    __syncthreads();  // all have read the list
  }
  if (threadIdx.x < kWarp) write_impossible(task, row, n, written, o.logprobs);
}

int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

// What is kept of each group, carved out of the machine's scratch: the widest first.
constexpr size_t kGroupBytes = 2 * sizeof(double) + 2 * sizeof(uint32_t) + sizeof(float);

template <class T>
T* pointer(const View& view) {
  return view ? view.as<T>() : nullptr;
}

}  // namespace

size_t sample_scratch(const Workload& w) { return w.samples * parts(w.vocab, kGroup) * kGroupBytes; }

void sample(const Machine& m, const SampleArgs& a) {
  const int64_t rows = a.logits.size(0), vocab = a.logits.size(1), groups = parts(vocab, kGroup), all = rows * groups;
  double* doubles = static_cast<double*>(m.scratch(all * kGroupBytes));
  uint32_t* words = reinterpret_cast<uint32_t*>(doubles + 2 * all);
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
  task.ids = a.ids.as<int32_t>();
  task.logprobs = pointer<float>(a.logprobs);
  task.top_ids = pointer<int32_t>(a.top_ids);
  task.top_logprobs = pointer<float>(a.top_logprobs);
  task.vocab = static_cast<int>(vocab);
  task.words = static_cast<int>(parts(vocab, 32));
  task.groups = static_cast<int>(groups);
  task.alternatives = a.top_ids ? static_cast<int>(a.top_ids.size(1)) : 0;
  task.logit_sums = doubles;
  task.sums = doubles + all;
  task.logit_keys = words;
  task.keys = words + all;
  task.reaches = reinterpret_cast<float*>(words + 2 * all);

  const int64_t warps = parts(groups, kGroupsOfWarp);
  const int64_t prepare_threads = std::min<int64_t>(warps * kWarp, kPrepareThreads), row_threads = std::min<int64_t>(groups * kWarp, kRowThreads);
  const int64_t blocks = parts(warps * kWarp, prepare_threads);
  launch<sample_prepare_kernel>(m, {.grid = static_cast<unsigned>(rows * blocks), .block = static_cast<unsigned>(prepare_threads)}, task, static_cast<int>(blocks));
  const Launch by_row{.grid = static_cast<unsigned>(rows), .block = static_cast<unsigned>(row_threads)};
  launch<sample_draw_kernel>(m, by_row, task);
  if (task.alternatives > 0) launch<sample_alternatives_kernel>(m, by_row, task);
}

}  // namespace m2::cuda
