// y = x W^T for packed W: a tile of R rows and P panels keeps R x P vectors of 16 outputs, and for each pair of k adds x[row][k, k+1] (broadcast) times
// the panel's 16 pairs. Every output is one chain of sums over k, in order, whatever R and P are and wherever a tile is cut along k (its sums wait in
// scratch as float32): that is why a row's result does not depend on the other rows.
//
// Panels are read once per row tile: from memory if there is one tile (few rows: the loop runs at memory speed), else in blocks of k that stay in
// the second-level cache while the tiles pass, each tile asking for its share of the next block.
//
// Experts take x in bf16, as pairs; dense products take it in float32, each number on its own. The weights are the same.
#pragma once
#include "cpu/kernels.h"
#include "cpu/simd/math.h"

namespace m2::cpu {

constexpr int64_t kGemmDepth = 1024;  // k per block

// How a pair of x meets 16 pairs of weights, in kParts steps: sum = add(weights, value, sum).
template <class S>
struct Bf16Input {
  using X = bf16;
  using Weights = typename S::Pairs;
  static constexpr int kParts = S::kDotParts;
  M2_INLINE static Weights weights(const bf16* w, int part) { return S::load_pairs(w, part); }
  M2_INLINE static auto value(const bf16* x, int part) { return S::broadcast_pair(x, part); }
  M2_INLINE static typename S::F add(Weights w, Weights x, typename S::F sum) { return S::dot(w, x, sum); }
};

template <class S>
struct F32Input {
  using X = float;
  using Weights = typename S::F;
  static constexpr int kParts = 2;
  M2_INLINE static Weights weights(const bf16* w, int part) {
    const typename S::I pairs = S::load_words(w);
    return part == 0 ? S::low(pairs) : S::high(pairs);
  }
  M2_INLINE static auto value(const float* x, int part) { return S::set(x[part]); }
  M2_INLINE static typename S::F add(Weights w, Weights x, typename S::F sum) { return S::fma(w, x, sum); }
};

// What a tile asks for while it works: the lines that lie `distance` behind its own, of panels first .. last-1 of its own.
struct NextBlock {
  int64_t distance = 0;
  int first = 0, last = 0;
};

// Where a tile stands along k: `count` from `first` on. Its panels lie `pitch` k apart, and `weight` points to `first` of the first one.
struct Along {
  int64_t first, count, pitch;
};

template <class S, class In, int R, int P>
void gemm_tile(const typename In::X* const* x, const bf16* weight, Along along, float* sums, int64_t stride, NextBlock next) {
  const auto [first_k, count, pitch] = along;
  typename S::F acc[R][P];
  const typename In::X* row[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) row[r] = x[r] + first_k;
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 8
    for (int p = 0; p < P; p++) acc[r][p] = first_k == 0 ? S::zero() : S::load(sums + r * stride + p * kPanel);
  }
  for (int64_t i = 0; i < count; i += 2) {
    for (int p = next.first; p < next.last; p++) __builtin_prefetch(weight + (p * pitch + i) * kPanel + next.distance, 0, 2);
#pragma GCC unroll 2
    for (int part = 0; part < In::kParts; part++) {
      typename In::Weights w[P];
#pragma GCC unroll 8
      for (int p = 0; p < P; p++) w[p] = In::weights(weight + (p * pitch + i) * kPanel, part);
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) {
        const auto value = In::value(row[r] + i, part);
#pragma GCC unroll 8
        for (int p = 0; p < P; p++) acc[r][p] = In::add(w[p], value, acc[r][p]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 8
    for (int p = 0; p < P; p++) S::store(sums + r * stride + p * kPanel, acc[r][p]);
  }
}

// The tile of `rows` rows and `panels` panels among those compiled: rows up to kTileRows, panels 1, 2 or 4, rows x panels up to kTileAccumulators.
template <class S, class In>
using GemmTile = decltype(&gemm_tile<S, In, 1, 1>);

template <class S, class In, int P, int R = S::kTileRows>
M2_INLINE GemmTile<S, In> gemm_tile_for(int rows) {
  if constexpr (R == 1) {
    return gemm_tile<S, In, 1, P>;
  } else {
    if constexpr (R * P <= S::kTileAccumulators) {
      if (rows == R) return gemm_tile<S, In, R, P>;
    }
    return gemm_tile_for<S, In, P, R - 1>(rows);
  }
}

template <class S, class In>
M2_INLINE GemmTile<S, In> gemm_tile_for(int rows, int panels) {
  switch (panels) {
    case 4: return gemm_tile_for<S, In, S::kTileAccumulators >= 4 ? 4 : 1>(rows);
    case 2: return gemm_tile_for<S, In, 2>(rows);
    default: return gemm_tile_for<S, In, 1>(rows);
  }
}

// The task's rows times `panels` panels: sums [rows][panels * 16].
template <class S, class In>
void bf16_panels(const typename In::X* const* x, int64_t rows, int64_t tiles, const bf16* weight, int panels, int64_t k, float* sums, int64_t stride) {
  const int64_t depth = tiles == 1 ? k : kGemmDepth;
  for (int64_t first_k = 0; first_k < k; first_k += depth) {
    const int64_t last_k = first_k + depth < k ? first_k + depth : k;
    const int64_t distance = (last_k < k ? depth : panels * k - first_k) * kPanel;  // the same panels further on, or the next ones
    for (int64_t t = 0; t < tiles; t++) {  // of nearly equal heights
      const int64_t first = rows * t / tiles, last = rows * (t + 1) / tiles;
      NextBlock next;
      if (tiles > 1) next = {distance, static_cast<int>(panels * t / tiles), static_cast<int>(panels * (t + 1) / tiles)};
      gemm_tile_for<S, In>(static_cast<int>(last - first), panels)(x + first, weight + first_k * kPanel, {first_k, last_k - first_k, k},
                                                                   sums + first * stride, stride, next);
    }
  }
}

// Panels of FP8 and int4: a block of k becomes bf16 in the first-level cache, and goes through the same tiles. Their sums wait in scratch between blocks,
// so the bits are those of bf16 panels.
constexpr int64_t kDecodedDepth = 128;  // k of a block: that of a scale of FP8, and of one to four groups of int4
static_assert(kDecodedDepth == kScaleBlock);

template <class S>
void decode_fp8(const Panels& weight, int64_t panel, int64_t k, int64_t first_k, int64_t count, bf16* to) {
  const int64_t blocks = groups_of(k, kScaleBlock);
  const typename S::Scale scale = S::fp8_scale(static_cast<const float*>(weight.scales)[panel * blocks + first_k / kScaleBlock]);
  const f8* from = static_cast<const f8*>(weight.data) + (panel * k + first_k) * kPanel;
  for (int64_t i = 0; i < count * kPanel; i += 64) S::store_scaled(to + i, from + i, scale);
}

template <class S>
void decode_int4(const Panels& weight, int64_t panel, int64_t k, int64_t first_k, int64_t count, bf16* to) {
  const int64_t group = weight.type.group, groups = groups_of(k, group);
  const uint8_t* from = static_cast<const uint8_t*>(weight.data) + (panel * k + first_k) * (kPanel / 2);
  for (int64_t i = 0; i < count; i += group) {
    const int64_t at = (panel * groups + (first_k + i) / group) * kPanel, end = count < i + group ? count : i + group;
    const typename S::Int4Group g = S::int4_group(static_cast<const bf16*>(weight.scales) + at, weight.zeros ? weight.zeros + at : nullptr);
    for (int64_t j = i; j < end; j += 8) S::store_decoded(to + j * kPanel, from + j * (kPanel / 2), g);
  }
}

template <class S, class In>
void decoded_panels(const typename In::X* const* x, int64_t rows, int64_t tiles, const Panels& weight, int64_t panel, int panels, int64_t k, float* sums, int64_t stride) {
  alignas(64) bf16 block[4 * kPanel * kDecodedDepth];
  const auto decode = weight.type.format == WeightFormat::kFp8 ? decode_fp8<S> : decode_int4<S>;
  for (int64_t first_k = 0; first_k < k; first_k += kDecodedDepth) {
    const int64_t count = k - first_k < kDecodedDepth ? k - first_k : kDecodedDepth;
    for (int p = 0; p < panels; p++) decode(weight, panel + p, k, first_k, count, block + p * count * kPanel);
    for (int64_t t = 0; t < tiles; t++) {
      const int64_t first = rows * t / tiles, last = rows * (t + 1) / tiles;
      gemm_tile_for<S, In>(static_cast<int>(last - first), panels)(x + first, block, {first_k, count, count}, sums + first * stride, stride, {});
    }
  }
}

template <class S>
void gemm_write(const GemmTask& task, int64_t row, int64_t panel, int panels, const float* sums) {
  if (task.epilogue == Epilogue::kSwiGlu) {  // panels in turn: gate, up
    bf16* out = static_cast<bf16*>(task.out) + row * task.width + panel / 2 * kPanel;
    for (int p = 0; p < panels; p += 2) {
      const typename S::F gate = S::load(sums + p * kPanel), up = S::load(sums + (p + 1) * kPanel);
      S::store(out + p / 2 * kPanel, S::mul(S::mul(gate, sigmoid<S>(gate)), up));
    }
    return;
  }
  float* out = static_cast<float*>(task.out) + row * task.width + panel * kPanel;
  for (int p = 0; p < panels; p++) {
    const int64_t left = task.width - (panel + p) * kPanel;
    const int lanes = static_cast<int>(left < kPanel ? left : kPanel);
    typename S::F y = S::load(sums + p * kPanel);
    if (task.epilogue == Epilogue::kAdd) y = S::add(S::load_part(out + p * kPanel, lanes), y);
    S::store_part(out + p * kPanel, y, lanes);
  }
}

template <class S, class In>
void gemm(const GemmTask& task, float* scratch) {
  using X = typename In::X;
  const X* x[kGemmRows];
  const int64_t rows = task.last_row - task.first_row;
  for (int64_t i = 0; i < rows; i++) {
    const int64_t row = task.first_row + i;
    x[i] = static_cast<const X*>(task.x) + (task.source ? task.source[row] / task.slots : row) * task.k;
  }
  const int64_t tiles = (rows + S::kTileRows - 1) / S::kTileRows, tallest = (rows + tiles - 1) / tiles;
  const int unit = task.epilogue == Epilogue::kSwiGlu ? 2 : 1;  // panels that belong together
  int panels = 4;
  while (panels > 1 && panels * tallest > S::kTileAccumulators) panels /= 2;
  for (int64_t first = task.first_panel; first < task.last_panel;) {
    while (panels > task.last_panel - first) panels /= 2;
    const int group = panels < unit ? unit : panels;
    for (int p = 0; p < group; p += panels) {
      const int64_t panel = first + p;
      float* sums = scratch + p * kPanel;
      if (task.weight.type.format == WeightFormat::kBf16) {
        bf16_panels<S, In>(x, rows, tiles, static_cast<const bf16*>(task.weight.data) + panel * kPanel * task.k, panels, task.k, sums, group * kPanel);
      } else {
        decoded_panels<S, In>(x, rows, tiles, task.weight, panel, panels, task.k, sums, group * kPanel);
      }
    }
    for (int64_t i = 0; i < rows; i++) gemm_write<S>(task, task.first_row + i, first, group, scratch + i * group * kPanel);
    first += group;
  }
}

}  // namespace m2::cpu
