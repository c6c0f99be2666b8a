// How the work of a call is shared out: all of it lies on one line, sequence after sequence, in a sequence KV head after KV head, in a head row tile after row
// tile, each as long as the tokens that it reads. A worker gets an equal part of the line. Row tiles that lie in several parts are cut where pieces of their
// context meet: each worker writes the states of its pieces, and the merge kernel joins them (order.h: the same sums as if nobody had cut). A worker takes
// what lies between the borders of pieces that are nearest to the ends of its part.
//
// A row tile is kRows rows of a sequence and a KV head: row r is query r / group with query head kv_head group + r % group. Sequences of at most 16 rows are
// the decode kernel's, those of more the prefill kernel's. Every block reads the lengths and finds its part alone, before the previous kernel has ended:
// only copies write lengths, and those have ended before any kernel of the step began.
//
// Pieces are chunks where parts are short, else spans, so that a cut tile needs few states: with c its borders between workers, at most c kSlots for chunks
// (a part is no longer than kChunkPart tokens, the tile no longer than c + 1 parts), and spans(context) for spans.
//
// Idea: Stream-K (Osama et al., 2023), over context in place of K.
#pragma once
#include "core/ops.h"
#include "cuda/attention/join.h"
#include "cuda/attention/plan.h"

namespace m2::cuda {

struct AttentionTask {
  const __nv_bfloat16* q;  // [T, Hq, D]
  __nv_bfloat16* out;      // [T, Hq, D]
  KvCache kv;
  int layer;
  const int32_t *page_tables, *table_rows, *cu_seqlens, *context_lens;  // [.., pages_per_row], [B], [B + 1], [B]
  int pages_per_row, sequences, heads, group;
  float scale;         // > 0, with log2(e) in it
  uint32_t flip_sign;  // xor of two elements of q: the scale's sign
  bool rounds;         // q and weights, to e4m3
};

// Neither 0 nor infinite: those would make NaN of what is masked.
__device__ __forceinline__ float bounded_scale(float scale) { return fminf(fmaxf(scale, std::numeric_limits<float>::min()), std::numeric_limits<float>::max()); }
// What a product of q with a key of that head is multiplied by.
__device__ __forceinline__ float score_scale(const AttentionTask& task, int kv_head) { return bounded_scale(task.scale * task.kv.scale(task.layer, 0, kv_head)); }

// A sequence's queries in the step.
struct Queries {
  int first, count, before;  // the first one's token in the step; how many; tokens before it in the context
};

// A row tile.
struct Unit {
  int64_t at, end;       // on the line
  const int32_t* pages;  // of the sequence
  int kv_head;
  Queries queries;
  int row, rows;         // its first row; the rows of the sequence
  int seen, tokens;      // how many tokens its first row sees, and its last one

  __device__ __forceinline__ int context() const { return queries.before + queries.count; }
  __device__ __forceinline__ int position(const AttentionTask& task, int row) const { return queries.before + row / task.group; }
  // Which of the [T Hq] rows of q and out a row of the sequence and KV head is.
  __device__ __forceinline__ int64_t place(const AttentionTask& task, int row) const {
    return static_cast<int64_t>(queries.first + row / task.group) * task.heads + kv_head * task.group + row % task.group;
  }
};

// A worker's part of a unit: tokens from `first` to `end`, where pieces meet.
enum class Pieces { kChunks, kSpans };
struct Part {
  int first, end;
  Pieces pieces;  // that the unit can be cut into
  int border;     // -1: the part is the whole. Else the first border between workers that cuts the unit: its states are in this border's room
};

template <int kRows>
class Work {
 public:
  // The bound above holds since c kSlots >= chunks((c + 1) kChunkPart) for every c from 1.
  static constexpr int kChunkPart = chunk_part(kRows), kSlots = chunk_room(kRows);
  static_assert(chunks(2 * kChunkPart) <= kSlots && chunks(3 * kChunkPart) <= 2 * kSlots);

  // Called by the whole block. sums: shared memory, one more than threads.
  __device__ __forceinline__ Work(const AttentionTask& task, int workers, int64_t* sums) : task_(task), workers_(workers), sums_(sums) {
    const int thread = threadIdx.x, lane = thread % kWarp, warp = thread / kWarp;
    int64_t sum = 0;
    for (int b = thread * run(), end = min(b + run(), task.sequences); b < end; b++) sum += length(queries(b));
#pragma unroll
    for (int step = 1; step < kWarp; step *= 2) {
      const int64_t before = __shfl_up_sync(kFullMask, sum, step);
      if (lane >= step) sum += before;
    }
    if (lane == kWarp - 1) sums[warp] = sum;
    __syncthreads();
    for (int w = 0; w < warp; w++) sum += sums[w];
    __syncthreads();
    sums[thread + 1] = sum;
    if (thread == 0) sums[0] = 0;
    __syncthreads();
  }

  // Where a worker's part begins, and the one before it ends.
  __device__ __forceinline__ int64_t begin(int worker) const { return length() * worker / workers_; }

  __device__ __forceinline__ Unit at(int64_t x) const {
    int low = 0, high = blockDim.x;  // sums[low] <= x < sums[high]
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      if (sums_[middle] <= x) low = middle;
      else high = middle;
    }
    Unit u;
    int b = low * run();
    u.queries = queries(b);
    u.at = sums_[low];
    while (x - u.at >= length(u.queries)) {
      u.at += length(u.queries);
      u.queries = queries(++b);
    }
    u.pages = task_.page_tables + static_cast<int64_t>(task_.table_rows[b]) * task_.pages_per_row;
    u.rows = u.queries.count * task_.group;
    const int64_t head = length_of_tiles(u.queries, tiles(u.rows));
    u.kv_head = static_cast<int>((x - u.at) / head);
    u.at += u.kv_head * head;
    int tile = 0, end = tiles(u.rows);
    while (end - tile > 1) {
      const int middle = (tile + end) / 2;
      if (length_of_tiles(u.queries, middle) <= x - u.at) tile = middle;
      else end = middle;
    }
    u.end = u.at + length_of_tiles(u.queries, tile + 1);
    u.at += length_of_tiles(u.queries, tile);
    u.row = tile * kRows;
    u.seen = u.position(task_, u.row) + 1;
    u.tokens = u.position(task_, min(u.rows, u.row + kRows) - 1) + 1;
    return u;
  }

  // The only unit of a sequence of the decode kernel and a KV head. Whether there is one.
  __device__ __forceinline__ bool find(int sequence, int kv_head, Unit& unit) const {
    const int64_t own = length(queries(sequence));
    if (own == 0) return false;
    int64_t x = sums_[sequence / run()] + own / task_.kv.heads * kv_head;
    for (int b = sequence / run() * run(); b < sequence; b++) x += length(queries(b));
    unit = at(x);
    return true;
  }
  // The first border between workers that lies behind a unit's begin.
  __device__ __forceinline__ int border_behind(const Unit& u) const { return static_cast<int>(((u.at + 1) * workers_ - 1) / length()); }

  // What of a unit belongs to the worker whose part of the line is from x to end.
  __device__ __forceinline__ Part part(const Unit& u, int64_t x, int64_t end) const {
    const Pieces kind = pieces();
    const bool cut = (x > u.at || end < u.end) && (kind == Pieces::kSpans ? spans(u.tokens) : chunks(u.tokens)) > 1;
    return {token_at(u, x, kind), token_at(u, end, kind), kind, cut ? border_behind(u) : -1};
  }
  __device__ __forceinline__ int64_t length() const { return sums_[blockDim.x]; }

 private:
  __device__ __forceinline__ int run() const { return (task_.sequences + blockDim.x - 1) / blockDim.x; }  // sequences of a thread
  __device__ __forceinline__ Pieces pieces() const { return length() > static_cast<int64_t>(workers_) * kChunkPart * task_.group ? Pieces::kSpans : Pieces::kChunks; }
  // The border between pieces of a unit's context that is nearest to x.
  __device__ __forceinline__ int token_at(const Unit& u, int64_t x, Pieces kind) const {
    if (x <= u.at) return 0;
    if (x - u.at >= static_cast<int64_t>(u.tokens) * task_.group) return u.tokens;
    const int t = static_cast<int>((x - u.at) / task_.group), size = kind == Pieces::kSpans ? span_size(t) : chunk_size(t), first = t / size * size, last = min(first + size, u.tokens);
    return t - first < last - t ? first : last;
  }
  __device__ __forceinline__ Queries queries(int b) const {
    const int first = task_.cu_seqlens[b], count = task_.cu_seqlens[b + 1] - first;
    return {first, count, task_.context_lens[b] - count};
  }
  __device__ __forceinline__ static int tiles(int rows) { return (rows + kRows - 1) / kRows; }
  // Of a head's first row tiles, in tokens times group. What a row tile costs beside its tokens counts as 64 more.
  __device__ __forceinline__ int64_t length_of_tiles(const Queries& q, int tiles) const {
    const int64_t n = tiles;
    return n * (q.before + 64) * task_.group + n * (n + 1) / 2 * kRows;
  }
  __device__ __forceinline__ int64_t length(const Queries& q) const {
    const int rows = q.count * task_.group;
    return (rows <= kDecodeRows) == (kRows == kDecodeRows) ? task_.kv.heads * length_of_tiles(q, tiles(rows)) : 0;
  }

  const AttentionTask& task_;
  const int workers_;
  int64_t* const sums_;  // [threads + 1]: where on the line the sequences of each thread begin, and the line's length
};

}  // namespace m2::cuda
