// Packing: rows of a host tensor into the layout of gemm/layout.h and codec.h. The rows come through the pinned buffers as they are, or are random numbers
// made where those would have come to; a kernel puts each to its
// place, pairs of k together: f32 and f16 rounded to bf16 (to nearest even), FP8 and codes as they are, and their scales as records. Zeros: each row
// brings those behind its K, and the last row those of the rows behind it, so it does not matter in which ranges and order rows come.
// Moves each source byte and each packed byte once; the copy to the device is what takes the time.
#include <cuda_fp16.h>

#include "cuda/gemm/codec.h"
#include "cuda/launch.h"
#include "cuda/launchers.h"
#include "cuda/ptx/launch.h"
#include "cuda/vectors.h"

namespace m2::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kStepPairs = kStep / 2;

struct PackTask {
  const void* source;  // what of the rows is packed, rows first
  DType dtype;
  int rows, k, n;      // rows that are given; those behind them are zeros
  int64_t first_row;
  bool gate_up;
  WeightType type;
  void* to;            // the expert's panels, or its records
};

struct Place {
  int64_t panel;
  int row;
};

__device__ __forceinline__ Place place_of(const PackTask& task, int64_t output) {
  if (!task.gate_up) return {output / kPanel, static_cast<int>(output % kPanel)};
  const int64_t half = task.n / 2, up = output >= half, i = output - up * half;
  return {i / 8, static_cast<int>(i % 8 + 8 * up)};
}

__device__ __forceinline__ uint32_t bf16_pair(const PackTask& task, int64_t at) {
  switch (task.dtype) {
    case DType::kF32: {
      const float2 pair = static_cast<const float2*>(task.source)[at];
      return pack_bf16(pair.x, pair.y);
    }
    case DType::kF16: {
      const float2 pair = __half22float2(static_cast<const __half2*>(task.source)[at]);
      return pack_bf16(pair.x, pair.y);
    }
    default: return static_cast<const uint32_t*>(task.source)[at];
  }
}

// A row of blocks for each row, a thread for each pair of k. A product may read weights before it waits for the kernel in front of it, so these kernels
// let nobody start early, and end when all that they wrote can be seen.
__global__ void __launch_bounds__(kThreads) pack_kernel(const PackTask task) {
  ptx::wait_for_previous_kernel();
  const int row = blockIdx.x, pair = blockIdx.y * kThreads + threadIdx.x;
  if (pair >= stages_of(task.k) * (kStage / 2)) return;
  const bool given = row < task.rows && 2 * pair < task.k;
  const int64_t at = static_cast<int64_t>(row) * (task.k / 2) + pair;
  const Place place = place_of(task, task.first_row + row);
  const int step = pair / kStepPairs, in_step = pair % kStepPairs, lane = place.row % 8 * 4 + in_step % 4, word = place.row / 8 + in_step / 4 * 2;  // a0 .. a3
  const int64_t first_step = place.panel * stages_of(task.k) * kStageSteps;
  if (task.type.format == WeightFormat::kBf16) {
    static_cast<uint32_t*>(task.to)[((first_step + step) * kWarp + lane) * 4 + word] = given ? bf16_pair(task, at) : 0;
  } else {
    const int64_t two_steps = first_step / 2 + step / 2;
    static_cast<uint16_t*>(task.to)[((two_steps * kWarp + lane) * 2 + step % 2) * 4 + word] = given ? static_cast<const uint16_t*>(task.source)[at] : uint16_t{0};
  }
  __threadfence();
}

// The same for codes, a thread for each two pairs that meet in a byte: those of a0 and a2, or of a1 and a3.
__global__ void __launch_bounds__(kThreads) pack_codes_kernel(const PackTask task) {
  ptx::wait_for_previous_kernel();
  const int row = blockIdx.x, index = blockIdx.y * kThreads + threadIdx.x, step = index / 4, t = index % 4;
  if (step >= stages_of(task.k) * kStageSteps) return;
  const int pair = step * kStepPairs + t;
  const uint8_t* source = static_cast<const uint8_t*>(task.source) + static_cast<int64_t>(row) * (task.k / 2);
  const bool given = row < task.rows && 2 * pair < task.k;
  const uint32_t near = given ? source[pair] : 0, far = given ? source[pair + kStepPairs / 2] : 0;
  const Place place = place_of(task, task.first_row + row);
  const int64_t word = ((place.panel * stages_of(task.k) + step / kStageSteps) * kWarp + place.row % 8 * 4 + t) * kStageSteps + step % kStageSteps;
  uint8_t* to = static_cast<uint8_t*>(task.to) + word * 4 + place.row / 8;
  to[0] = static_cast<uint8_t>((near & 15) | far << 4);
  to[2] = static_cast<uint8_t>(near >> 4 | (far & 0xf0));
  __threadfence();
}

// Records of FP8, a thread for each half of one: a block of 128 rows begins where a panel does, and gate and up rows have blocks of their own.
__global__ void __launch_bounds__(kThreads) pack_fp8_scales_kernel(const PackTask task) {
  ptx::wait_for_previous_kernel();
  const int half = blockIdx.x, record = blockIdx.y * kThreads + threadIdx.x;  // half: eight rows
  const int records = static_cast<int>(panel_record_vectors<Fp8Codec>(task.k, record_shift(task.type))), blocks = static_cast<int>(groups_of(task.k, kScaleBlock));
  if (record >= records) return;
  const bool given = 8 * half < task.rows;
  const float scale = given ? static_cast<const float*>(task.source)[8 * half / kScaleBlock * blocks + record] : 0;
  const Place place = place_of(task, task.first_row + 8 * half);
  static_cast<float*>(task.to)[(place.panel * records + record) * 4 + place.row / 8] = scale * 0x1p120f;
  __threadfence();
}

// Scales or zeros of codes, a thread for each. Zeros come as bytes and stand behind the scales of a record.
__global__ void __launch_bounds__(kThreads) pack_groups_kernel(const PackTask task) {
  ptx::wait_for_previous_kernel();
  const int row = blockIdx.x, record = blockIdx.y * kThreads + threadIdx.x, vectors = task.type.zeros ? Int4Codec<true>::kRecordVectors : Int4Codec<false>::kRecordVectors;
  const int records = static_cast<int>(panel_record_vectors<Int4Codec<true>>(task.k, record_shift(task.type))) / Int4Codec<true>::kRecordVectors;
  if (record >= records) return;
  const int groups = static_cast<int>(groups_of(task.k, task.type.group));
  const bool given = row < task.rows && record < groups, is_zero = task.dtype == DType::kU8;
  const int64_t at = static_cast<int64_t>(row) * groups + record;
  uint16_t bits = 0;
  if (is_zero) bits = static_cast<uint16_t>(0x4300 + (given ? static_cast<const uint8_t*>(task.source)[at] : 0));  // 128 + zero
  else if (given) bits = static_cast<const uint16_t*>(task.source)[at];
  const Place place = place_of(task, task.first_row + row);
  static_cast<uint16_t*>(task.to)[(place.panel * records + record) * vectors * 8 + (is_zero ? 16 : 0) + place.row % 8 * 2 + place.row / 8] = bits;
  __threadfence();
}

int64_t panel_bytes(int64_t k, WeightType type) {
  return with_codec(type, [&](auto codec) { return panel_vectors<decltype(codec)>(k); }) * static_cast<int64_t>(sizeof(uint4));
}
int64_t record_bytes(int64_t k, WeightType type) {
  return with_codec(type, [&](auto codec) { return panel_record_vectors<decltype(codec)>(k, record_shift(type)); }) * static_cast<int64_t>(sizeof(uint4));
}
char* expert_records(const Weight& w, int64_t expert) {
  const int64_t panels = panels_of(w.n);
  return static_cast<char*>(w.data.data()) + panels * (w.experts * panel_bytes(w.k, w.type) + expert * record_bytes(w.k, w.type));
}

// What the device makes in the place of values that are not given.
struct RandomValues {
  uint64_t seed;
  float size;
};

class Packing {
 public:
  Packing(const Machine& m, Staging& staging, const Weight& w, int64_t expert, int64_t first_row, RandomValues random = {})
      : m_(m), staging_(staging), expert_(expert), first_row_(first_row), weight_(w), random_(random) {}

  // Runs a kernel over `rows` rows, in parts that the staging buffers hold: threads (part of them: `per_row`) for each, and for the zeros behind the last.
  // A row of the kernel is `unit` of the weight's; `block`: rows that are one in `source`.
  template <auto kKernel>
  void run(const View& source, int64_t rows, void* to, int64_t per_row, int64_t unit = 1, int64_t block = 1) {
    const int64_t row_bytes = source.size(1) * static_cast<int64_t>(dtype_bytes(source.dtype)), most = static_cast<int64_t>(Staging::kBytes) / row_bytes * block;
    expect(most > 0, "a row of a weight must have at most ", Staging::kBytes, " bytes, found ", row_bytes);
    const int64_t n = weight_.n;
    PackTask task{nullptr, source.dtype, 0, static_cast<int>(weight_.k), static_cast<int>(n), 0, weight_.layout == WeightLayout::kGateUp, weight_.type, to};
    for (int64_t done = 0; done < rows; done += task.rows) {
      task.rows = static_cast<int>(std::min(most, rows - done));
      task.first_row = first_row_ + done;
      const int64_t covered = task.rows + (task.first_row + task.rows == n ? panels_of(n) * kPanel - n : 0);
      const dim3 grid(static_cast<unsigned>((covered + unit - 1) / unit), static_cast<unsigned>((per_row + kThreads - 1) / kThreads));
      const auto pack_part = [&](const void* device) {
        task.source = device;
        launch<kKernel>(m_, {.grid = grid, .block = kThreads}, task);
      };
      if (source) {
        staging_.bring(static_cast<const char*>(source.data) + done / block * row_bytes, static_cast<size_t>((task.rows + block - 1) / block * row_bytes), pack_part);
        continue;
      }
      staging_.lend([&](void* device) {
        const int64_t width = source.size(1);
        fill_random(m_, device, source.dtype, task.rows * width, random_.size, random_.seed, (expert_ * n + done) * width);
        pack_part(device);
      });
    }
  }

  void run(const MatrixRows& rows) {
    const int64_t count = rows.values.size(0), pairs = stages_of(weight_.k) * (kStage / 2);
    char* panels = static_cast<char*>(weight_.data.data()) + expert_ * panels_of(weight_.n) * panel_bytes(weight_.k, weight_.type);
    if (weight_.type.format != WeightFormat::kInt4) run<pack_kernel>(rows.values, count, panels, pairs);
    if (weight_.type.format == WeightFormat::kBf16) return;
    void* const records = expert_records(weight_, expert_);
    const int64_t most_records = pairs * 2 / 32;
    if (weight_.type.format == WeightFormat::kFp8) return run<pack_fp8_scales_kernel>(rows.scales, count, records, most_records, 8, kScaleBlock);
    run<pack_codes_kernel>(rows.values, count, panels, pairs / 2);
    run<pack_groups_kernel>(rows.scales, count, records, most_records);
    if (rows.zeros) run<pack_groups_kernel>(rows.zeros, count, records, most_records);
  }

 private:
  const Machine& m_;
  Staging& staging_;
  int64_t expert_, first_row_;
  const Weight& weight_;
  RandomValues random_;
};

}  // namespace

size_t weight_bytes(int64_t experts, int64_t n, int64_t k, WeightType type) {
  return static_cast<size_t>(experts * panels_of(n) * (panel_bytes(k, type) + record_bytes(k, type)));
}

const uint4* records_of(const Weight& weight) { return reinterpret_cast<const uint4*>(expert_records(weight, 0)); }

void pack(const Machine& m, Staging& staging, Weight& weight, int64_t expert, int64_t first_row, const MatrixRows& rows) {
  Packing(m, staging, weight, expert, first_row).run(rows);
}

void fill_random(const Machine& m, Staging& staging, Weight& weight, uint64_t seed) {
  const RandomRows random(weight);
  for (int64_t expert = 0; expert < weight.experts; expert++) Packing(m, staging, weight, expert, 0, {seed, random.size}).run(random.rows);
}

}  // namespace m2::cuda
