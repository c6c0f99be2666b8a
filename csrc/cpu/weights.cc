// The layout of packed weights: [experts][panels][K / 2][16 outputs][2] bf16. A panel is 16 outputs; one 64-byte vector holds two consecutive k of all
// 16, so a product needs no sums across lanes and a one-row product reads memory straight on. The last panel is padded with zero rows.
// kGateUp: panels 2i and 2i + 1 are gate and up rows 16i .. 16i+15, so both are at hand where SwiGLU joins them.
#include "cpu/launchers.h"

namespace m2::cpu {
namespace {

int64_t panels_of(int64_t n) { return (n + kPanel - 1) / kPanel; }

}  // namespace

size_t weight_bytes(int64_t experts, int64_t n, int64_t k) { return static_cast<size_t>(experts) * panels_of(n) * kPanel * k * sizeof(bf16); }

void pack(Machine& m, Weight& weight, int64_t expert, int64_t first_row, const View& source) {
  const int64_t k = weight.k, n = weight.n, last_row = first_row + source.size(0);
  const int64_t half = weight.layout == WeightLayout::kGateUp ? n / 2 : n;  // rows of one kind; a multiple of 16 where there are two
  bf16* panels = static_cast<bf16*>(weight.data.data()) + expert * panels_of(n) * kPanel * k;

  const int64_t first_panel = first_row / kPanel, count = panels_of(last_row) - first_panel;
  m.pool.run(count, count * kPanel * k, [&](int64_t task, int) {
    const int64_t rows = first_panel + task, first = std::max(rows * kPanel, first_row), last = std::min((rows + 1) * kPanel, last_row);
    const int64_t panel = half == n ? rows : rows * kPanel < half ? 2 * rows : 2 * (rows - half / kPanel) + 1;
    bf16* out = panels + panel * kPanel * k;
    if (last == n && n % kPanel) {  // zero rows behind the last
      for (int64_t i = 0; i < k / 2; i++) std::fill(out + 2 * (i * kPanel + n % kPanel), out + 2 * (i + 1) * kPanel, bf16{0});
    }
    const char* from = static_cast<const char*>(source.data) + (first - first_row) * k * dtype_bytes(source.dtype);
    m.kernels.pack({from, source.dtype, k, out, static_cast<int>(first % kPanel), static_cast<int>(last - first)});
  });
}

}  // namespace m2::cpu
