// Memory for states, and how sums become a result.
#pragma once
#include "cuda/attention/join.h"

namespace m2::cuda {

struct AttentionScratch {
  float4* waiting;  // [workers, warps of a team, row or span, D / 8 + 1, 32]: states that wait, each lane's own
  float* o;         // [borders between workers, room, rows, D]: the pieces of row tiles that are cut
  float2* ml;       // [borders between workers, room, rows]: their m and l
  int room, rows;   // pieces for each border; rows of a row tile

  __device__ __forceinline__ int64_t index(int border, int piece, int row) const { return (static_cast<int64_t>(border) * room + piece) * rows + row; }
};

__device__ __forceinline__ bool is_finite(float x) { return fabsf(x) < kInfinity; }

// What the sums of a row are multiplied by: see order.h for sums that are not all finite.
__device__ __forceinline__ float result_factor(bool all_finite, float l) { return all_finite ? 1 / l : kNaN; }
__device__ __forceinline__ float result(float sum, float factor) { return sum * factor + 0.0f; }  // -0 becomes 0

}  // namespace m2::cuda
