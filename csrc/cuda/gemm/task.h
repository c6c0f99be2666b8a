// What a product kernel is given, and how results leave it.
#pragma once
#include "cuda/device.h"
#include "cuda/gemm/codec.h"
#include "cuda/vectors.h"

namespace m2::cuda {

enum class Output { kF32, kAddF32, kBf16, kSwiGlu };  // kSwiGlu: bf16, from panels of gate and up rows

// out[r] = x[token of r] W^T with the weight of r's group, for the rows of all groups. A dense product is one group.
struct GemmTask {
  const __nv_bfloat16* x;  // [.., k]
  const int32_t* source;   // [rows]: r is of token source[r] / slots; null: of token r
  int slots;
  const int32_t* offsets;  // [groups + 1]: rows of group g are offsets[g] .. offsets[g+1]-1; null: one group of all rows
  int groups, rows, k, panels;  // panels of one group
  WeightType type;
  const uint4* weight;     // as gemm/codec.h has it
  const uint4* records;    // the scales of all panels
  Output output;
  int width;               // of a row of out
  void* out;               // [rows, width]
  const uint8_t* codes = nullptr;     // rows of x as e4m3, [.., k], and their scales, [.., k / 128], where they have been rounded (fp8_rows.h)
  const float* row_scales = nullptr;
};

// What experts give a token together: out[t] += sum over a, in order, of weights[t, a] * row target[t, a] of a product's output.
struct Combination {
  const int32_t* target = nullptr;  // [tokens, active]
  const float* weights = nullptr;   // [tokens, active]
  int tokens = 0, active = 0;
  float* out = nullptr;             // [tokens, width]
  uint32_t* counters = nullptr;     // of Machine::counters, one for each panel
};

// Row r of the product's left side.
__device__ __forceinline__ const __nv_bfloat16* row_of_x(const GemmTask& task, int r) {
  return task.x + static_cast<int64_t>(task.source ? task.source[r] / task.slots : r) * task.k;
}

// A panel of a group, from its first step on, and its records.
template <class Codec>
__device__ __forceinline__ const uint4* panel_of(const GemmTask& task, int group, int panel) {
  return task.weight + (static_cast<int64_t>(group) * task.panels + panel) * panel_vectors<Codec>(task.k);
}
template <class Codec>
__device__ __forceinline__ const uint4* records_of(const GemmTask& task, int group, int panel) {
  return task.records + (static_cast<int64_t>(group) * task.panels + panel) * panel_record_vectors<Codec>(task.k, record_shift(task.type));
}

__device__ __forceinline__ float swiglu(float gate, float up) { return gate / (1 + __expf(-gate)) * up; }

// What stands at four neighbouring outputs of a row, for kAddF32; zeros behind the last column.
__device__ __forceinline__ void read_outputs(const GemmTask& task, int row, int column, float (&values)[4]) {
  const float* from = static_cast<const float*>(task.out) + static_cast<int64_t>(row) * task.width + column;
  if (task.width % 4 == 0 && column < task.width) {
    const float4 v = *reinterpret_cast<const float4*>(from);
    values[0] = v.x, values[1] = v.y, values[2] = v.z, values[3] = v.w;
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; i++) values[i] = column + i < task.width ? from[i] : 0;
}

// Four neighbouring outputs of a row to their place, as f32 or bf16; nothing is written behind the last column.
__device__ __forceinline__ void write_outputs(const GemmTask& task, int row, int column, const float (&values)[4]) {
  if (column >= task.width) return;
  const int64_t at = static_cast<int64_t>(row) * task.width + column;
  const bool f32 = task.output == Output::kF32 || task.output == Output::kAddF32;
  float* to_f32 = static_cast<float*>(task.out) + at;
  __nv_bfloat16* to_bf16 = static_cast<__nv_bfloat16*>(task.out) + at;
  if (task.width % 4 == 0) {
    if (f32) *reinterpret_cast<float4*>(to_f32) = {values[0], values[1], values[2], values[3]};
    else *reinterpret_cast<uint2*>(to_bf16) = {pack_bf16(values[0], values[1]), pack_bf16(values[2], values[3])};
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if (column + i >= task.width) break;
    if (f32) to_f32[i] = values[i];
    else to_bf16[i] = __float2bfloat16_rn(values[i]);
  }
}

}  // namespace m2::cuda
