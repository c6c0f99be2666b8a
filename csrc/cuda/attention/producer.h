// The warpgroup that brings keys and values. Its first warp has TMA load boxes of whole pages, or of 64 rows of one, each lane those of one page: a tile is up
// to eight pages. What lies behind the context comes along: pages there are read as rows before the first, which are zeros; rows in the context's last page are
// anyone's, and what is not finite among their values would reach results as 0 times it. So would values that not every row sees. The four warps look through
// the values of a row tile's last tiles, make zeros of such pieces and leave bits behind for the rows that do see them.
//
// Of e4m3 they turn values around for products in e4m3, some 60 instructions of each warp a tile; or else they widen every slot: 8 KiB to 16 KiB of bf16, 8
// elements in some 26 instructions, 420 of each scheduler a tile. TMA is kLead slots ahead.
#pragma once
#include "cuda/attention/pipeline.h"
#include "cuda/float8.h"
#include "cuda/ptx/tensor.h"

namespace m2::cuda {

// Loads the slots of a part in order. By one warp.
template <class T, int D>
class Loader {
 public:
  using P = Pipeline<T, D>;
  // Slots ahead of the one that is looked through. No more than fit: a consumer that wants a tile's values also waits for the keys of the next.
  static constexpr int kLead = P::kWidens ? P::kLandings - 1 : P::kTurns ? 2 * P::kLandings - 1 : P::kSlots - 2;
  static_assert(P::kWidens || kLead <= P::kSlots - 2);

  __device__ __forceinline__ Loader(const AttentionTask& task, const P& p, const CUtensorMap* cache, const Job& job, int at)
      : task_(task), p_(p), cache_(cache), job_(job), at_(at), tile_(job.part.first) {
    find();
  }
  __device__ __forceinline__ void load_next() {
    if (tile_ >= job_.part.end) return;
    const bool lands = P::lands(at_);
    if (!lands) p_.wait_empty(at_);
    const bool is_ready = !lands && !(of_values() && hides(job_, tile_));
    load(is_ready ? p_.full(at_) : p_.landed(at_));
    at_++;
    if (of_values()) return;
    tile_ += kTileTokens;
    find();
  }
  // Whether not every row sees all that comes as the tile.
  __device__ __forceinline__ static bool hides(const Job& job, int tile) { return job.unit.seen < tile + kTileTokens; }

 private:
  __device__ __forceinline__ bool of_values() const { return at_ % 2; }  // a tile has two slots
  __device__ __forceinline__ int box_rows() const { return min(static_cast<int>(task_.kv.page_size), kTileTokens); }
  __device__ __forceinline__ void find() {
    const int token = tile_ + threadIdx.x % kWarp * box_rows(), page_size = static_cast<int>(task_.kv.page_size), index = token / page_size;
    offset_ = token - index * page_size;
    page_ = token < min(tile_ + kTileTokens, job_.unit.context()) ? job_.unit.pages[index] : -1;
  }
  __device__ __forceinline__ void load(uint32_t barrier) const {
    const int lane = threadIdx.x % kWarp, heads = static_cast<int>(task_.kv.heads), page_size = static_cast<int>(task_.kv.page_size);
    if (lane == 0) ptx::mbarrier_arrive_expect_bytes(barrier, P::kLandingBytes);
    __syncwarp();
    if (lane * box_rows() >= kTileTokens) return;
    const int row = (((page_ * static_cast<int>(task_.kv.layers) + task_.layer) * 2 + of_values()) * heads + job_.unit.kv_head) * page_size + offset_;
    constexpr int kColumns = sizeof(T) == 1 ? D : 64;
#pragma unroll
    for (int column = 0; column < D; column += kColumns) {
      const uint32_t to = p_.landing(at_) + (column / kColumns * kTileTokens + lane * box_rows()) * kColumns * static_cast<int>(sizeof(T));
      ptx::tensor_load(to, cache_, barrier, column, page_ < 0 ? -kTileTokens : row);
    }
  }

  const AttentionTask& task_;
  const P& p_;
  const CUtensorMap* const cache_;
  const Job& job_;
  int at_, tile_;           // what is loaded next: the slot, the tile
  int page_, offset_;       // of the lane's box; -1: behind the context
};

// A landing becomes a slot that is ready. By the whole warpgroup, when it has landed.
template <bool kHides, class T, int D>
__device__ __forceinline__ void prepare_slot(const Pipeline<T, D>& p, int at) {
  using P = Pipeline<T, D>;
  constexpr int kPieces = D / 8, kAtOnce = kWarp / kPieces;  // of a row; rows of a warp
  const int thread = threadIdx.x % kWarpgroup;
  uint8_t* slot = p.shared + at % P::kSlots * P::kSlotBytes;
  const uint2* narrow = reinterpret_cast<const uint2*>(p.shared + P::kSlots * P::kSlotBytes + at % P::kLandings * P::kLandingBytes);
  uint64_t hidden = 0;
#pragma unroll 4
  for (int i = thread; i < kTileTokens * kPieces; i += kWarpgroup) {
    const int row = i / kPieces, piece = i % kPieces;
    uint4* place = reinterpret_cast<uint4*>(slot + piece / 8 * P::kHalfBytes + row * P::kPitch + (piece ^ row) % 8 * 16);
    uint4 values = P::kWidens ? f8x8_to_bf16(narrow[i]) : *place;
    if (kHides) {
      const bool finite = are_finite(values);
      if (!finite) values = {0, 0, 0, 0};
      const unsigned bad = __ballot_sync(kFullMask, !finite);
#pragma unroll
      for (int r = 0; r < kAtOnce; r++) {
        if (bad >> r * kPieces & ((1u << kPieces) - 1)) hidden |= uint64_t{1} << (row / kAtOnce * kAtOnce + r);
      }
    }
    *place = values;
  }
  if (kHides && thread % kWarp == 0) p.hidden[at % P::kSlots][thread / kWarp] = hidden;
  ptx::fence_proxy_async();
  ptx::barrier_sync(kProducerBarrier, kWarpgroup);
  if (thread == 0) ptx::mbarrier_arrive(p.full(at));
}

// The same of values in e4m3 that are turned.
template <class T, int D>
__device__ __forceinline__ void turn_slot(const Pipeline<T, D>& p, int at, bool hides) {
  turn_values<D>(p.landing(at), p.slot(at), threadIdx.x % kWarpgroup / kWarp, hides, p.hidden[at % Pipeline<T, D>::kSlots]);
  ptx::barrier_sync(kProducerBarrier, kWarpgroup);
  if (threadIdx.x % kWarpgroup == 0) ptx::mbarrier_arrive(p.full(at));
}

// The parts of row tiles that are a block's, one after the other; whole tiles first, and what other blocks have begun last. So all blocks begin with first
// tokens and stay close together while their contexts are nearly as long, which those of a long prompt's step are: what one block of a KV head has read, the
// others find in L2. With the cut tile first they would be anywhere, and HBM would have to give 32 KiB for every tile of every block.
// One thread looks for them, and keeps what it knows in shared memory: registers are short.
struct Jobs {
  int64_t begin, end, x;  // the block's part of the line; where the next one begins
  bool waits;             // whether the first one is yet to come

  __device__ __forceinline__ void start(const Work<kPrefillRows>& work) {
    begin = x = work.begin(blockIdx.x);
    end = work.begin(blockIdx.x + 1);
    waits = false;
    if (begin >= end) return;
    const Unit first = work.at(begin);
    if (first.at < begin && first.end < end) x = first.end;
    waits = x > begin;
  }
  // The next one that is not empty. If there is none, an empty one.
  __device__ __forceinline__ void next(const Work<kPrefillRows>& work, Job& job) {
    job.part.first = job.part.end = 0;
    while (job.part.first >= job.part.end && (x < end || waits)) {
      const bool is_first = x >= end;
      const int64_t from = is_first ? begin : x;
      job.unit = work.at(from);
      job.part = work.part(job.unit, from, end);
      if (is_first) waits = false;
      else x = job.unit.end;
    }
  }
};

template <class T, int D>
__device__ __forceinline__ void produce(const AttentionTask& task, const Pipeline<T, D>& p, const Work<kPrefillRows>& work, const CUtensorMap* cache) {
  using P = Pipeline<T, D>;
  const int thread = threadIdx.x % kWarpgroup;
  M2_SHARED(Jobs, jobs, [1]);
  if (thread == 0) jobs[0].start(work);
  uint32_t phases = 0;  // of the landings
  for (int n = 0, at = 0;; n++) {
    if (thread == 0) {
      ptx::mbarrier_wait(p.done(n), (n / P::kJobs & 1) ^ 1);
      jobs[0].next(work, p.jobs[n % P::kJobs]);
      ptx::mbarrier_arrive(p.found(n));
    }
    const Job& job = p.wait_job(n);
    if (job.part.first >= job.part.end) break;
    Loader<T, D> loader(task, p, cache, job, at);
    for (int i = 0; i < Loader<T, D>::kLead && thread < kWarp; i++) loader.load_next();
    for (int tile = job.part.first; tile < job.part.end; tile += kTileTokens) {
      for (int of_values = 0; of_values < 2; of_values++, at++) {
        if (thread < kWarp) loader.load_next();
        const bool hides = of_values && Loader<T, D>::hides(job, tile), lands = P::lands(at);
        if (!lands && !hides) continue;
        const int landing = P::landing_index(at);
        ptx::mbarrier_wait(p.landed(at), phases >> landing & 1);
        phases ^= 1u << landing;
        if (lands) p.wait_empty(at);
        if constexpr (P::kTurns) turn_slot(p, at, hides);
        else if (hides) prepare_slot<true>(p, at);
        else if (P::kWidens) prepare_slot<false>(p, at);
      }
    }
    p.finish_job(n);
  }
}

}  // namespace m2::cuda
