// What a team of kWarps warps, with 16 rows each, does with its part of a row tile's context. The team's ring in shared memory has three tiles of keys and
// values: one in use, two on their way. Of e4m3 there is one of bf16 behind them: the tile in use.
//
//   end of chunk   its state goes into the span's, in registers; or to memory, where the row tile is cut at chunks
//   end of span    its state goes into the row's, which waits in memory; or to memory for the merge kernel, where the row tile is cut at spans
#pragma once
#include "cuda/attention/reader.h"
#include "cuda/attention/scratch.h"

namespace m2::cuda {

constexpr int kRingTiles = 3;
constexpr int ring_bytes(int dim, int element_bytes) { return kRingTiles * tile_bytes(dim, element_bytes) + (element_bytes == 1 ? tile_bytes(dim, 2) : 0); }

// What a team is at, in shared memory: registers are short.
struct Job {
  Unit unit;
  Part part;
};

// A lane's rows of the sequence are first and first + 8. Those behind the last are computed as if they were the last, and not written.
template <int kWarps>
__device__ __forceinline__ int first_row(const Unit& unit) {
  return unit.row + 16 * warp_of_team<kWarps>() + threadIdx.x % kWarp / 4;
}

template <int D, int kWarps>
__device__ __forceinline__ void load_rows(const AttentionTask& task, const Unit& unit, uint32_t (&q)[D / 16][4]) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = min(first_row<kWarps>(unit) + 8 * half, unit.rows - 1);
    const uint32_t* from = reinterpret_cast<const uint32_t*>(task.q + unit.place(task, row) * D) + threadIdx.x % 4;
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
      q[k][half] = from[8 * k] ^ task.flip_sign;
      q[k][half + 2] = from[8 * k + 4] ^ task.flip_sign;
    }
  }
}

template <int D, int kWarps>
__device__ __forceinline__ void write_rows(const AttentionTask& task, const Unit& unit, const State<D>& state) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    bool finite = true;
#pragma unroll
    for (int n = 0; n < D / 8; n++) finite = finite && is_finite(state.o[n][2 * half]) && is_finite(state.o[n][2 * half + 1]);
    const unsigned others = __ballot_sync(kFullMask, finite) >> lane / 4 * 4 & 15;  // the row's four lanes
    const float factor = result_factor(others == 15, state.l[half]) * task.kv.scale(task.layer, 1, unit.kv_head);
    const int row = first_row<kWarps>(unit) + 8 * half;
    if (row >= unit.rows) continue;
    uint32_t* to = reinterpret_cast<uint32_t*>(task.out + unit.place(task, row) * D) + lane % 4;
#pragma unroll
    for (int n = 0; n < D / 8; n++) to[4 * n] = pack_bf16(result(state.o[n][2 * half], factor), result(state.o[n][2 * half + 1], factor));
  }
}

template <int D, int kWarps>
__device__ __forceinline__ void write_piece(const AttentionScratch& scratch, const Job& job, int piece, const State<D>& state) {
  const int t = threadIdx.x % 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = first_row<kWarps>(job.unit) + 8 * half;
    if (row >= job.unit.rows) continue;
    const int64_t at = scratch.index(job.part.border, piece, row - job.unit.row);
    float2* to = reinterpret_cast<float2*>(scratch.o + at * D) + t;
#pragma unroll
    for (int n = 0; n < D / 8; n++) to[4 * n] = {state.o[n][2 * half], state.o[n][2 * half + 1]};
    if (t == 0) scratch.ml[at] = {state.m[half], state.l[half]};
  }
}

// The lane's [D / 8 + 1] of the totals, every kWarp-th.
template <int D>
__device__ __forceinline__ float4* total_of(const AttentionScratch& scratch) {
  return scratch.totals + (blockIdx.x * (blockDim.x / kWarp) + threadIdx.x / kWarp) * (D / 8 + 1) * kWarp + threadIdx.x % kWarp;
}
// The state of the spans before takes in `span`, which becomes the sum.
template <int D>
__device__ __forceinline__ void join_total(const AttentionScratch& scratch, State<D>& span) {
  const float4* total = total_of<D>(scratch);
  const float4 ml = total[D / 8 * kWarp];
  const Join join[2] = {{ml.x, span.m[0]}, {ml.y, span.m[1]}};
  span.m[0] = join[0].m;
  span.m[1] = join[1].m;
  span.l[0] = join[0](ml.z, span.l[0]);
  span.l[1] = join[1](ml.w, span.l[1]);
#pragma unroll
  for (int n = 0; n < D / 8; n++) {
    const float4 o = total[n * kWarp];
    span.o[n][0] = join[0](o.x, span.o[n][0]);
    span.o[n][1] = join[0](o.y, span.o[n][1]);
    span.o[n][2] = join[1](o.z, span.o[n][2]);
    span.o[n][3] = join[1](o.w, span.o[n][3]);
  }
}
template <int D>
__device__ __forceinline__ void keep_total(const AttentionScratch& scratch, const State<D>& span) {
  float4* total = total_of<D>(scratch);
#pragma unroll
  for (int n = 0; n < D / 8; n++) total[n * kWarp] = {span.o[n][0], span.o[n][1], span.o[n][2], span.o[n][3]};
  total[D / 8 * kWarp] = {span.m[0], span.m[1], span.l[0], span.l[1]};
}

template <class T, int D, int kWarps>
__device__ __forceinline__ void attend(const AttentionTask& task, const AttentionScratch& scratch, const Job& job) {
  M2_DYNAMIC_SHARED(rings);
  constexpr int kBytes = TileReader<T, D, kWarps>::kBytes, kWideBytes = tile_bytes(D, 2), kAhead = (kRingTiles - 1) * kTileTokens;
  uint8_t* ring = rings + (kWarps == 1 ? threadIdx.x / kWarp : 0) * ring_bytes(D, sizeof(T));
  const Unit& unit = job.unit;
  TileReader<T, D, kWarps> reader(task, unit);
  int begin = job.part.first, slot = 0;  // of the tile
  reader.find(begin);
  uint32_t q[D / 16][4];
  load_rows<D, kWarps>(task, unit, q);
#pragma unroll
  for (int i = 0; i < kRingTiles - 1; i++) {
    const int ahead = begin + i * kTileTokens;
    if (ahead < job.part.end) reader.copy(ahead, ptx::shared_address(ring) + i * kBytes);
    ptx::cp_async_commit();
    reader.find(ahead + kTileTokens);
  }

  const int warp_row = unit.row + 16 * warp_of_team<kWarps>();
  const int seen = warp_row < unit.rows ? unit.position(task, min(warp_row + 16, unit.rows) - 1) + 1 : 0;  // by the warp's last row, if it has any
  State<D> chunk, span;
  float sums[4] = {};
  chunk.clear();
  span.clear();
  for (; begin < job.part.end; begin += kTileTokens) {
    const int end = begin + kTileTokens;
    ptx::cp_async_wait<kRingTiles - 2>();
    meet<kWarps>();  // the tile is there, and nobody is at the one before
    if (begin + kAhead < job.part.end) reader.copy(begin + kAhead, ptx::shared_address(ring) + (slot == 0 ? kRingTiles - 1 : slot - 1) * kBytes);
    ptx::cp_async_commit();
    reader.find(end + kAhead);

    uint8_t* keys = ring + slot * kBytes;
    if constexpr (sizeof(T) == 1) {
      widen_tile<D, kWarps>(keys, ring + kRingTiles * kBytes);
      meet<kWarps>();  // the tile of bf16 is there
      keys = ring + kRingTiles * kBytes;
    }
    uint8_t* values = keys + kWideBytes / 2;
    slot = slot == kRingTiles - 1 ? 0 : slot + 1;
    uint32_t hidden = 0;
    if (unit.seen < min(end, unit.context())) hidden = hide_non_finite<D, kWarps>(values);  // not every row sees all that is there
    if (begin < seen) {
      Scores scores;
      score_tile<D>(q, ptx::shared_address(keys), scores);
      if (unit.seen < end) {
        int last[2];
        for (int half = 0; half < 2; half++) last[half] = unit.position(task, min(first_row<kWarps>(unit) + 8 * half, unit.rows - 1)) - begin;
        mask_scores(scores, last, hidden);
      }
      Weights weights;
      weigh<D>(scores, score_scale(task, unit.kv_head), chunk, sums, weights);
      add_values<D>(weights, ptx::shared_address(values), chunk, sums);
    }

    const bool last = end >= job.part.end;
    if (!last && !ends_chunk(end)) continue;
    chunk.l[0] = sums[0];
    chunk.l[1] = sums[2];
    if (job.part.border >= 0 && job.part.pieces == Pieces::kChunks) {
      write_piece<D, kWarps>(scratch, job, chunks(end) - 1, chunk);
    } else {
      span.take_in(chunk);
      if (last || ends_span(end)) {
        if (job.part.border >= 0) {
          write_piece<D, kWarps>(scratch, job, spans(end) - 1, span);
        } else {
          if (spans(end) > 1) join_total<D>(scratch, span);
          if (last) write_rows<D, kWarps>(task, unit, span);
          else keep_total<D>(scratch, span);
        }
        span.clear();
      }
    }
    chunk.clear();
    sums[0] = sums[1] = sums[2] = sums[3] = 0;
  }
}

}  // namespace m2::cuda
