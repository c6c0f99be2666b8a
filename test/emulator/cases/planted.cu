// Bugs planted in whole kernels: norm, gemm, attention.
#include "../planted.h"
#include "../problems.h"

namespace m2::test {

CASE("row norm without a barrier") {
  is_noticed("row norm: no __syncthreads", {kSeeds, "wrong"}, [] { return run_row_norm<RowNormBug::kNoBarrier>(4, 2048); });
}

CASE("gemm mma.sync") {
  const GemmProblem square(256, 256, 256, false), ragged(130, 70, 192, false);
  is_noticed("gemm: no barrier before a stage is overwritten", {kSeeds / 2, "wrong"}, [&] { return run_gemm_mma<GemmBug::kNoBarrierBeforeLoad>(square); });
  is_noticed("gemm: cp.async wait off by one", {kSeeds / 3, "wrong"}, [&] { return run_gemm_mma<GemmBug::kWaitOffByOne>(square); });
  is_noticed("gemm: stores past the ragged edge", {kSeeds, ""}, [&] { return run_gemm_mma<GemmBug::kStoresPastEdge>(ragged); });
}

CASE("attention") {
  const AttentionProblem problem(64, 300, 1, 1);
  is_noticed("attention: no barrier at the end of the loop", {kSeeds / 2, "wrong"}, [&] { return run_attention<AttentionBug::kNoBarrierAtEnd>(problem); });
}

template <RingBug kBug>
void ring(const char* name, uint64_t seeds, const char* words) {
  static const GemmProblem problem(128, 128, 704, false);
  is_noticed(name, {seeds, words}, [] { return run_gemm_wgmma<0, false, kBug>(problem); });
}

CASE("gemm wgmma") {
  ring<RingBug::kNoBarrierAfterInit>("ring: no barrier after the mbarriers' init", kSeeds / 3, "no mbarrier was initialised");
  ring<RingBug::kNoInitFence>("ring: no fence after the mbarriers' init", kSeeds, "fence.mbarrier_init");
  ring<RingBug::kNoWaitForEmpty>("ring: the producer does not wait", kSeeds / 2, "");
  ring<RingBug::kEmptyParity>("ring: the parity of the producer's wait", kSeeds, "deadlock");
  ring<RingBug::kBytes>("ring: fewer bytes announced than come", kSeeds, "deadlock");
  ring<RingBug::kNoWgmmaFence>("ring: no wgmma.fence", kSeeds, "without wgmma.fence");
  ring<RingBug::kReleasedEarly>("ring: a stage released before the wait", kSeeds / 4, "wrong");
  ring<RingBug::kAccumulatorTouched>("ring: the accumulator touched in flight", kSeeds, "was written to while in flight");
  ring<RingBug::kDescriptor>("ring: a wrong stride in a descriptor", kSeeds, "");
  ring<RingBug::kOneArrivalPerWarpgroup>("ring: one arrival per warpgroup", kSeeds / 4, "");
}

}  // namespace m2::test

