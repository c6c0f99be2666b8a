// The layout of packed weights, and the one order of sums.
//
// A weight [n outputs, k] is cut into panels of 16 outputs, a panel into steps of 16 k. A step is what one mma.m16n8k16 takes as its operand A, in the order
// of the warp's registers: [32 lanes][8 bf16], where with g = lane / 4 and t = lane % 4 a lane has
//   a0: row g, k 2t, 2t+1    a1: row g+8, k 2t, 2t+1    a2: row g, k 2t+8, 2t+9    a3: row g+8, k 2t+8, 2t+9
// So a step is 512 contiguous bytes and 16 for each lane, and nothing has to be rearranged between memory and the matrix unit.
//   before [experts][n][k]  ->  after [experts][panels][steps][32 lanes][8]
// FP8 and int4 lie the same way, fewer bytes for each lane: gemm/codec.h.
// K is padded with zeros to whole stages of 64, the last panel with rows of zeros. Gate and up rows: panel i has gate rows 8i..8i+7 as its rows 0..7 and
// up rows 8i..8i+7 as its rows 8..15, so that one lane comes to hold a gate and its up.
//
// Sums: K is cut into segments of 1536. A segment is one chain of mma from zero over its steps in order; a result is the segments' sums added in order,
// from zero, in float32. Every kernel keeps to that, so the bits of a row do not hang on which one computes it.
#pragma once
#include <cstdint>

namespace m2::cuda {

constexpr int kPanel = 16;
constexpr int kStep = 16;                             // k of one mma
constexpr int kStage = 64;                            // k that kernels move at a time
constexpr int kStageSteps = kStage / kStep;
constexpr int kSegment = 1536;                        // k
constexpr int kSegmentStages = kSegment / kStage;

constexpr int64_t panels_of(int64_t n) { return (n + kPanel - 1) / kPanel; }
constexpr int64_t stages_of(int64_t k) { return (k + kStage - 1) / kStage; }
constexpr int64_t segments_of(int64_t k) { return (k + kSegment - 1) / kSegment; }

}  // namespace m2::cuda
