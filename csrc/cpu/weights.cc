// The layout of packed weights: [experts][panels][K / 2][16 outputs][2] bf16 or f8. A panel is 16 outputs; one vector holds two consecutive k of all 16, so
// a product needs no sums across lanes and a one-row product reads memory straight on. The last panel is padded with zero rows.
// kGateUp: panels 2i and 2i + 1 are gate and up rows 16i .. 16i+15, so both are at hand where SwiGLU joins them.
// Behind an expert's f8 panels stand their scales, [panels][ceil(K / 128)] f32: a panel's rows all lie in one block of 128.
#include "cpu/launchers.h"

namespace m2::cpu {
namespace {

int64_t panel_count(int64_t n) { return (n + kPanel - 1) / kPanel; }
int64_t blocks_of(int64_t k) { return (k + kScaleBlock - 1) / kScaleBlock; }

// Bytes of an expert's panels, and of all that is an expert's; both multiples of 64.
int64_t panel_bytes(int64_t n, int64_t k, WeightFormat format) { return panel_count(n) * kPanel * k * (format == WeightFormat::kFp8 ? 1 : 2); }
int64_t expert_bytes(int64_t n, int64_t k, WeightFormat format) {
  const int64_t scales = format == WeightFormat::kFp8 ? panel_count(n) * blocks_of(k) * static_cast<int64_t>(sizeof(float)) : 0;
  return panel_bytes(n, k, format) + (scales + 63) / 64 * 64;
}

char* expert_data(const Weight& w, int64_t expert) { return static_cast<char*>(w.data.data()) + expert * expert_bytes(w.n, w.k, w.format); }
float* expert_scales(const Weight& w, int64_t expert) { return reinterpret_cast<float*>(expert_data(w, expert) + panel_bytes(w.n, w.k, w.format)); }

}  // namespace

size_t weight_bytes(int64_t experts, int64_t n, int64_t k, WeightFormat format) { return static_cast<size_t>(experts * expert_bytes(n, k, format)); }

const void* panels_of(const Weight& weight, int64_t expert) { return expert_data(weight, expert); }
const float* scales_of(const Weight& weight, int64_t expert) { return weight.format == WeightFormat::kFp8 ? expert_scales(weight, expert) : nullptr; }

void pack(Machine& m, Weight& weight, int64_t expert, int64_t first_row, const View& source, const View& scales) {
  const int64_t k = weight.k, n = weight.n, last_row = first_row + source.size(0), blocks = blocks_of(k);
  const int64_t half = weight.layout == WeightLayout::kGateUp ? n / 2 : n;  // rows of one kind; a multiple of 16 where there are two
  const int64_t pair_bytes = weight.format == WeightFormat::kFp8 ? 2 : 4;
  char* panels = expert_data(weight, expert);

  const int64_t first_panel = first_row / kPanel, count = panel_count(last_row) - first_panel;
  m.pool.run(count, count * kPanel * k, [&](int64_t task, int) {
    const int64_t rows = first_panel + task, first = std::max(rows * kPanel, first_row), last = std::min((rows + 1) * kPanel, last_row);
    const int64_t panel = half == n ? rows : rows * kPanel < half ? 2 * rows : 2 * (rows - half / kPanel) + 1;
    char* out = panels + panel * kPanel * k / 2 * pair_bytes;
    if (last == n && n % kPanel) {  // zero rows behind the last
      for (int64_t i = 0; i < k / 2; i++) std::fill(out + (i * kPanel + n % kPanel) * pair_bytes, out + (i + 1) * kPanel * pair_bytes, char{0});
    }
    const char* from = static_cast<const char*>(source.data) + (first - first_row) * k * dtype_bytes(source.dtype);
    m.kernels.pack({from, source.dtype, k, out, static_cast<int>(first % kPanel), static_cast<int>(last - first)});
    if (scales) std::copy_n(scales.as<float>() + (first - first_row) / kScaleBlock * blocks, blocks, expert_scales(weight, expert) + panel * blocks);
  });
}

}  // namespace m2::cpu
