// What the producer and the consumers of a block share: shared memory and its barriers.
//
//   slots      keys of a tile, its values, keys of the next, ..: [D / 64][64 rows][128 bytes] of bf16, swizzled by 128 bytes, as wgmma takes them; or e4m3 (codes.h)
//   landings   where TMA puts what is not ready for use: the slots themselves; or of e4m3 [64][D] bytes, values to be turned, or everything to be widened
//   jobs       parts of row tiles, two of them: the producer begins with the next one while the consumers end the last
//
//   full, empty   of a slot: ready for use; used by all eight warps of the consumers
//   landed        of a landing: TMA has done
//   found, done   of a job: it stands there; nobody of the block reads it any more
//
// Slots and jobs are counted from the kernel's start: `at` is the number of a slot, n of a job.
#pragma once
#include <cuda.h>

#include <type_traits>

#include "cuda/attention/codes.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/mbarrier.h"

namespace m2::cuda {

constexpr int kWarpgroup = 128, kConsumerWarps = WarpgroupShape::kConsumers * kWarpgroup / kWarp;
static_assert(kConsumerWarps == RowTeam<128>::kWarps);  // whose rows they have

template <class T, int D>
struct Pipeline {
  static constexpr bool kTurns = std::is_same_v<T, f8_operand>, kWidens = std::is_same_v<T, f8>;  // values, or everything
  static constexpr WarpgroupShape kShape = kTurns ? kCodeSlots : kWidens ? kWidenedSlots : kWideSlots;
  static constexpr int kSlots = kShape.slots, kLandings = kShape.landings > 0 ? kShape.landings : kSlots, kJobs = 2;
  static constexpr int kSlotBytes = slot_bytes(D, kShape.slot_element_bytes), kLandingBytes = slot_bytes(D, sizeof(T)), kPitch = 128, kHalfBytes = kTileTokens * kPitch;
  static constexpr int kBarriers = 2 * kSlots + kLandings + 2 * kJobs;

  uint8_t* shared;
  uint32_t slots;           // `shared` as instructions take it
  uint32_t barriers;
  uint64_t (*hidden)[4];    // [slots]: what each of the producer's warps has hidden of values, as bits
  Job* jobs;

  __device__ __forceinline__ uint32_t full(int at) const { return barriers + at % kSlots * 8; }
  __device__ __forceinline__ uint32_t empty(int at) const { return barriers + (kSlots + at % kSlots) * 8; }
  __device__ __forceinline__ uint32_t landed(int at) const { return barriers + (2 * kSlots + landing_index(at)) * 8; }
  __device__ __forceinline__ uint32_t found(int n) const { return barriers + (2 * kSlots + kLandings + n % kJobs) * 8; }
  __device__ __forceinline__ uint32_t done(int n) const { return barriers + (2 * kSlots + kLandings + kJobs + n % kJobs) * 8; }
  __device__ __forceinline__ uint32_t slot(int at) const { return slots + at % kSlots * kSlotBytes; }
  // Whether a slot's tile lands beside it. Values are the odd slots.
  __device__ __forceinline__ static bool lands(int at) { return kWidens || (kTurns && at % 2); }
  __device__ __forceinline__ static int landing_index(int at) { return (kTurns ? at / 2 : at) % kLandings; }
  __device__ __forceinline__ uint32_t landing(int at) const { return lands(at) ? slots + kSlots * kSlotBytes + landing_index(at) * kLandingBytes : slot(at); }
  // A lane's part of the states of spans that wait.
  __device__ __forceinline__ float4* span() const {
    return reinterpret_cast<float4*>(shared + kSlots * kSlotBytes + kShape.landings * kLandingBytes) + threadIdx.x / kWarp * (D / 8 + 1) * kWarp + threadIdx.x % kWarp;
  }

  __device__ __forceinline__ void init() const {
    for (int i = 0; i < kSlots; i++) {
      ptx::mbarrier_init(full(i), 1);
      ptx::mbarrier_init(empty(i), kConsumerWarps);
    }
    for (int i = 0; i < kLandings; i++) ptx::mbarrier_init(barriers + (2 * kSlots + i) * 8, 1);
    for (int n = 0; n < kJobs; n++) {
      ptx::mbarrier_init(found(n), 1);
      ptx::mbarrier_init(done(n), blockDim.x / kWarp);
    }
    ptx::fence_mbarrier_init();
  }
  __device__ __forceinline__ void wait_full(int at M2_AND_SITE) const { ptx::mbarrier_wait(full(at), at / kSlots & 1 M2_AND_THIS_SITE); }
  __device__ __forceinline__ void wait_empty(int at M2_AND_SITE) const { ptx::mbarrier_wait(empty(at), (at / kSlots & 1) ^ 1 M2_AND_THIS_SITE); }
  // By each warp, when it has done with a slot, or with a job.
  __device__ __forceinline__ void release(int at M2_AND_SITE) const {
    if (threadIdx.x % kWarp == 0) ptx::mbarrier_arrive(empty(at) M2_AND_THIS_SITE);
  }
  __device__ __forceinline__ const Job& wait_job(int n M2_AND_SITE) const {
    ptx::mbarrier_wait(found(n), n / kJobs & 1 M2_AND_THIS_SITE);
    return jobs[n % kJobs];
  }
  __device__ __forceinline__ void finish_job(int n M2_AND_SITE) const {
    __syncwarp(kFullMask M2_AND_THIS_SITE);
    if (threadIdx.x % kWarp == 0) ptx::mbarrier_arrive(done(n) M2_AND_THIS_SITE);
  }
};

// Named barriers: a turn of each consumer, the producer's warps.
constexpr int kTurnBarrier = 1, kProducerBarrier = kTurnBarrier + WarpgroupShape::kConsumers;

}  // namespace m2::cuda
