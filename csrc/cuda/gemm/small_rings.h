// A warp's way through one segment of a panel's weights, from memory to the registers that the matrix unit takes. Both rings go in strides of kAhead stages:
// `ready`, then for each stage of the stride `fetch` and `fragment` of its four steps, then `release`.
//
//   RegisterRing  loads of 16 bytes for each lane, straight into registers: kAhead stages are on their way
//   BulkRing      sm_90: the copy engine brings pieces of 2 KiB and their records into shared memory: as many are on their way as the warp has slots, and
//                 neither registers nor instructions of the warp go into it
#pragma once
#include "cuda/gemm/task.h"
#include "cuda/ptx/bulk.h"
#include "cuda/ptx/mbarrier.h"
#include "cuda/ptx/memory.h"

namespace m2::cuda {

template <class Codec>
class RegisterRing {
 public:
  static constexpr bool kIsHopper = false;
  static constexpr int kAhead = Codec::kAhead;
  int stages = 0;  // of the segment

  __device__ __forceinline__ RegisterRing(const GemmTask& task, uint8_t*, int) : task_(task), shift_(record_shift(task.type)) {}

  __device__ __forceinline__ void begin(int group, int panel, int segment) {
    first_stage_ = segment * kSegmentStages;
    from_ = panel_of<Codec>(task_, group, panel) + static_cast<int64_t>(first_stage_) * kStageVectors + threadIdx.x % kWarp;
    records_ = records_of<Codec>(task_, group, panel);
    stages = min(static_cast<int>(stages_of(task_.k)) - first_stage_, kSegmentStages);
#pragma unroll
    for (int slot = 0; slot < kAhead; slot++) ask(slot, slot);
  }
  __device__ __forceinline__ void ready() {}
  __device__ __forceinline__ void fetch(int) {}
  __device__ __forceinline__ uint4 fragment(int slot, int step) const { return Codec::fragment(slots_[slot][step / Codec::kVectorSteps], scales_[slot], step); }
  // The stage in `slot` is done with: another takes its registers.
  __device__ __forceinline__ void pass(int slot, int stage) { ask(slot, stage + kAhead); }
  __device__ __forceinline__ void release() {}

 private:
  static constexpr int kStageVectors = Codec::kVectors * kWarp;

  __device__ __forceinline__ void ask(int slot, int stage) {
    if (stage >= stages) return;
#pragma unroll
    for (int i = 0; i < Codec::kVectors; i++) slots_[slot][i] = ptx::ld_global_streaming(from_ + stage * kStageVectors + i * kWarp);
    const int k = (first_stage_ + stage) * kStage;
    scales_[slot] = Codec::scales(records_ + (k >> shift_) * Codec::kRecordVectors, records_ + ((k + kStage / 2) >> shift_) * Codec::kRecordVectors);
  }

  const GemmTask& task_;
  const int shift_;
  uint4 slots_[kAhead][Codec::kVectors];
  typename Codec::Scales scales_[kAhead];
  const uint4 *from_ = nullptr, *records_ = nullptr;  // this lane's vector of the first step; records of the panel
  int first_stage_ = 0;
};

template <class Codec>
class BulkRing {
  static constexpr int kStageBytes = Codec::kVectors * kWarp * 16, kPieceBytes = SmallShape::kPieceBytes;

 public:
  static constexpr bool kIsHopper = true;
  static constexpr int kAhead = kPieceBytes / kStageBytes;
  static constexpr int kSlotBytes = kAhead * kPanelStageBytes<Codec>;
  int stages = 0;  // of the segment

  // memory: the warp's own, SmallShape::ring_bytes of it
  __device__ __forceinline__ BulkRing(const GemmTask& task, uint8_t* memory, int slots)
      : task_(task), shift_(record_shift(task.type)), slots_(slots), memory_(memory), full_(ptx::shared_address(memory + slots * kSlotBytes)) {
    if (threadIdx.x % kWarp == 0) {
      for (int slot = 0; slot < slots; slot++) ptx::mbarrier_init(full_ + 8 * slot, 1);
      ptx::fence_mbarrier_init();
    }
    __syncwarp();
  }

  // All pieces before have been released.
  __device__ __forceinline__ void begin(int group, int panel, int segment) {
    first_stage_ = segment * kSegmentStages;
    panel_ = panel_of<Codec>(task_, group, panel);
    records_ = records_of<Codec>(task_, group, panel);
    stages = min(static_cast<int>(stages_of(task_.k)) - first_stage_, kSegmentStages);
    stage_ = asked_ = 0;
    for (int i = 0; i < slots_; i++) ask();
  }
  __device__ __forceinline__ void ready() { ptx::mbarrier_wait(full_ + 8 * slot_, phase_); }
  __device__ __forceinline__ void fetch(int stage) {
    const uint4* slot = reinterpret_cast<const uint4*>(memory_ + slot_ * kSlotBytes);
#pragma unroll
    for (int i = 0; i < Codec::kVectors; i++) stored_[i] = slot[(stage * Codec::kVectors + i) * kWarp + threadIdx.x % kWarp];
    const uint4* records = slot + kPieceBytes / 16;
    const int begin = (first_stage_ + stage_) * kStage, k = begin + stage * kStage, before = begin >> shift_;
    scales_ = Codec::scales(records + ((k >> shift_) - before) * Codec::kRecordVectors, records + (((k + kStage / 2) >> shift_) - before) * Codec::kRecordVectors);
  }
  __device__ __forceinline__ uint4 fragment(int, int step) const { return Codec::fragment(stored_[step / Codec::kVectorSteps], scales_, step); }
  // The stage as it is stored.
  __device__ __forceinline__ const uint4 (&stored() const)[Codec::kVectors] { return stored_; }
  __device__ __forceinline__ const typename Codec::Scales& scales() const { return scales_; }
  __device__ __forceinline__ void pass(int, int) {}
  // The piece is done with: another takes its slot.
  __device__ __forceinline__ void release() {
    __syncwarp();
    stage_ += kAhead;
    next(slot_, phase_);
    ask();
  }

 private:
  __device__ __forceinline__ void next(int& slot, uint32_t& phase) const {
    if (++slot < slots_) return;
    slot = 0;
    phase ^= 1;
  }
  __device__ __forceinline__ void ask() {
    if (asked_ >= stages) return;
    if (threadIdx.x % kWarp == 0) {
      const int count = min(stages - asked_, kAhead), stage = first_stage_ + asked_, k = stage * kStage;
      const int first = k >> shift_, records = Codec::kRecordVectors == 0 ? 0 : ((k + count * kStage - 1) >> shift_) - first + 1;
      const uint32_t full = full_ + 8 * ask_slot_, slot = ptx::shared_address(memory_ + ask_slot_ * kSlotBytes), record_bytes = records * Codec::kRecordVectors * 16;
      ptx::mbarrier_arrive_expect_bytes(full, count * kStageBytes + record_bytes);
      ptx::bulk_load_streaming(slot, panel_ + static_cast<int64_t>(stage) * (kStageBytes / 16), count * kStageBytes, full);
      if constexpr (Codec::kRecordVectors > 0) ptx::bulk_load_streaming(slot + kPieceBytes, records_ + first * Codec::kRecordVectors, record_bytes, full);
    }
    asked_ += kAhead;
    if (++ask_slot_ == slots_) ask_slot_ = 0;
  }

  const GemmTask& task_;
  const int shift_, slots_;
  uint8_t* const memory_;
  const uint32_t full_;  // an mbarrier for each slot
  uint4 stored_[Codec::kVectors];  // of the stage at hand
  typename Codec::Scales scales_;
  const uint4 *panel_ = nullptr, *records_ = nullptr;
  int first_stage_ = 0, stage_ = 0, asked_ = 0;  // the segment's first; of it the piece at hand begins with, and the next to be asked for
  int slot_ = 0, ask_slot_ = 0;
  uint32_t phase_ = 0;
};

}  // namespace m2::cuda
