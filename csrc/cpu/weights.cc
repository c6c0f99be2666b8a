// The layout of packed weights: [experts][panels][K / 2][16 outputs][2] bf16 or f8. A panel is 16 outputs; one vector holds two consecutive k of all 16, so
// a product needs no sums across lanes and a one-row product reads memory straight on. The last panel is padded with zero rows.
// Codes of int4 are [experts][panels][K / 8][16 words of 32 bits]: four bits of each word together are a vector of 16 codes, so a shift is all that it takes.
// Bits 8 i .. 8 i + 3 of word j have output j / 2 and the j % 2-th k of pair i of four, the bits above those output 8 + j / 2.
// kGateUp: panels 2i and 2i + 1 are gate and up rows 16i .. 16i+15, so both are at hand where SwiGLU joins them.
// Behind an expert's panels stand their scales: of f8 [panels][ceil(K / 128)] f32, as a panel's rows all lie in one block of 128; of codes
// [panels][groups][16] bf16; and then zeros, if there are any, [panels][groups][16] u8.
#include "cpu/launchers.h"

namespace m2::cpu {
namespace {

int64_t panel_count(int64_t n) { return (n + kPanel - 1) / kPanel; }

// Bytes of one panel's k pairs, scales and zeros.
struct PanelBytes {
  int64_t pairs, scales, zeros;

  PanelBytes(int64_t k, WeightType type) : pairs(k / 2 * pair_bytes(type.format)), scales(0), zeros(0) {
    if (type.format == WeightFormat::kFp8) scales = groups_of(k, kScaleBlock) * static_cast<int64_t>(sizeof(float));
    if (type.format != WeightFormat::kInt4) return;
    scales = groups_of(k, type.group) * kPanel * static_cast<int64_t>(sizeof(bf16));
    if (type.zeros) zeros = groups_of(k, type.group) * kPanel;
  }
  static int64_t pair_bytes(WeightFormat format) { return kPanel * (format == WeightFormat::kBf16 ? 4 : format == WeightFormat::kFp8 ? 2 : 1); }
};

int64_t expert_bytes(int64_t n, int64_t k, WeightType type) {
  const PanelBytes panel(k, type);
  return (panel_count(n) * (panel.pairs + panel.scales + panel.zeros) + 63) / 64 * 64;
}

// Codes have none of their own: they are written with those of the rows before them.
void zero_rows_behind(int64_t row, char* pairs, int64_t k, WeightFormat format) {
  if (format == WeightFormat::kInt4) return;
  const int64_t bytes = PanelBytes::pair_bytes(format), used = row * bytes / kPanel;
  for (int64_t i = 0; i < k / 2; i++) std::fill(pairs + i * bytes + used, pairs + (i + 1) * bytes, char{0});
}

// [rows][groups] -> [groups][16], zeros for rows that are not there.
template <class T>
void transpose(const T* from, int64_t rows, int64_t groups, T* to) {
  for (int64_t g = 0; g < groups; g++) {
    for (int64_t row = 0; row < kPanel; row++) to[g * kPanel + row] = row < rows ? from[row * groups + g] : T{};
  }
}

}  // namespace

size_t weight_bytes(int64_t experts, int64_t n, int64_t k, WeightType type) { return static_cast<size_t>(experts * expert_bytes(n, k, type)); }

Panels panels_of(const Weight& weight, int64_t expert) {
  const PanelBytes panel(weight.k, weight.type);
  const int64_t count = panel_count(weight.n);
  char* data = static_cast<char*>(weight.data.data()) + expert * expert_bytes(weight.n, weight.k, weight.type);
  char* scales = data + count * panel.pairs;
  return {weight.type, data, panel.scales ? scales : nullptr, panel.zeros ? reinterpret_cast<uint8_t*>(scales + count * panel.scales) : nullptr};
}

void pack(Machine& m, Weight& weight, int64_t expert, int64_t first_row, const MatrixRows& rows) {
  const int64_t k = weight.k, n = weight.n, last_row = first_row + rows.values.size(0);
  const int64_t half = weight.layout == WeightLayout::kGateUp ? n / 2 : n;  // rows of one kind; a multiple of 16 where there are two
  const int64_t row_bytes = rows.values.size(1) * static_cast<int64_t>(dtype_bytes(rows.values.dtype));
  const PanelBytes sizes(k, weight.type);
  const Panels to = panels_of(weight, expert);

  const int64_t first_panel = first_row / kPanel, count = panel_count(last_row) - first_panel;
  m.pool.run(count, count * kPanel * k, [&](int64_t task, int) {
    const int64_t part = first_panel + task, first = std::max(part * kPanel, first_row), last = std::min((part + 1) * kPanel, last_row), from = first - first_row;
    const int64_t panel = half == n ? part : part * kPanel < half ? 2 * part : 2 * (part - half / kPanel) + 1;
    char* pairs = static_cast<char*>(to.data) + panel * sizes.pairs;
    if (last == n && n % kPanel) zero_rows_behind(n % kPanel, pairs, k, weight.type.format);
    m.kernels.pack({static_cast<const char*>(rows.values.data) + from * row_bytes, rows.values.dtype, k, pairs, static_cast<int>(first % kPanel), static_cast<int>(last - first)});
    if (weight.type.format == WeightFormat::kFp8) {
      const int64_t blocks = rows.scales.size(1);
      std::copy_n(rows.scales.as<float>() + from / kScaleBlock * blocks, blocks, static_cast<float*>(to.scales) + panel * blocks);
    }
    if (weight.type.format == WeightFormat::kInt4) {
      const int64_t groups = rows.scales.size(1), at = panel * groups * kPanel;
      transpose(rows.scales.as<bf16>() + from * groups, last - first, groups, static_cast<bf16*>(to.scales) + at);
      if (to.zeros) transpose(rows.zeros.as<uint8_t>() + from * groups, last - first, groups, to.zeros + at);
    }
  });
}

}  // namespace m2::cpu
