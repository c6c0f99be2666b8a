// What rows of the persistent batch keep between steps.
//   set_pages        a thread per update
//   start_histories  clears the rows, then counts their ids, a thread per id: integer sums come out the same in any order. What must be written is: 4 V bytes
//                    of each row.
#include "cuda/launch.h"
#include "cuda/launchers.h"
#include "cuda/ptx/launch.h"

namespace m2::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kClearedByThread = 8;

__global__ void __launch_bounds__(kThreads) set_pages_kernel(const int32_t* updates, int64_t count, int64_t pages_per_row, int32_t* page_tables) {
  ptx::let_next_kernel_start();
  ptx::wait_for_previous_kernel();
  const int64_t u = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (u >= count) return;
  const int32_t row = updates[3 * u], index = updates[3 * u + 1], page = updates[3 * u + 2];
  page_tables[row * pages_per_row + index] = page;
}

// blocks: of one row
__global__ void __launch_bounds__(kThreads) clear_histories_kernel(const int32_t* rows, int blocks, int64_t vocab, int32_t* history) {
  ptx::let_next_kernel_start();
  ptx::wait_for_previous_kernel();
  int32_t* row = history + rows[blockIdx.x / blocks] * vocab;
  const int64_t first = static_cast<int64_t>(blockIdx.x % blocks) * (kThreads * kClearedByThread) + threadIdx.x;
#pragma unroll
  for (int i = 0; i < kClearedByThread; i++) {
    const int64_t at = first + i * kThreads;
    if (at < vocab) row[at] = 0;
  }
}

struct HistoriesTask {
  const int32_t *rows, *offsets, *generated, *ids;
  int count;
  int64_t ids_count, vocab;
  int32_t* history;
};

__global__ void __launch_bounds__(kThreads) count_histories_kernel(const HistoriesTask task) {
  ptx::let_next_kernel_start();
  ptx::wait_for_previous_kernel();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= task.ids_count || i >= task.offsets[task.count]) return;
  int h = 0, end = task.count;  // i belongs to one of h .. end-1: the last that does not begin behind it
  while (end - h > 1) {
    const int middle = (h + end) / 2;
    if (task.offsets[middle] <= i) h = middle;
    else end = middle;
  }
  int32_t* seen = task.history + task.rows[h] * task.vocab + task.ids[i];
  if (i < task.offsets[h + 1] - task.generated[h]) atomicOr(seen, 1);
  else atomicAdd(seen, 2);
}

unsigned blocks_of(int64_t count, int64_t part) { return static_cast<unsigned>((count + part - 1) / part); }

}  // namespace

void set_pages(const Machine& m, const SetPagesArgs& a) {
  const int64_t count = a.updates.size(0);
  launch<set_pages_kernel>(m, {.grid = blocks_of(count, kThreads), .block = kThreads}, a.updates.as<int32_t>(), count, a.page_tables.size(1),
                           a.page_tables.as<int32_t>());
}

void start_histories(const Machine& m, const StartHistoriesArgs& a) {
  const int64_t count = a.rows.size(0), vocab = a.history.size(1), ids = a.ids.size(0);
  const unsigned blocks = blocks_of(vocab, kThreads * kClearedByThread);
  launch<clear_histories_kernel>(m, {.grid = static_cast<unsigned>(count) * blocks, .block = kThreads}, a.rows.as<int32_t>(), static_cast<int>(blocks), vocab,
                                 a.history.as<int32_t>());
  if (ids == 0) return;
  const HistoriesTask task{a.rows.as<int32_t>(), a.offsets.as<int32_t>(), a.generated.as<int32_t>(), a.ids.as<int32_t>(), static_cast<int>(count), ids, vocab,
                           a.history.as<int32_t>()};
  launch<count_histories_kernel>(m, {.grid = blocks_of(ids, kThreads), .block = kThreads}, task);
}

}  // namespace m2::cuda
