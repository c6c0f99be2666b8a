// Matrix products: how a product is cut into tasks. A task is some rows times some panels of one expert; K is never cut among threads.
#include "cpu/fp8_rows.h"
#include "cpu/launchers.h"

namespace m2::cpu {
namespace {

struct Cut {
  int64_t rows, panels;  // of one task, at most
};

int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

// As few tasks as keep all threads busy to the end: few tasks reuse panels and rows best. `groups` experts of about `rows` rows each.
Cut cut(int64_t rows, int64_t panels, int64_t groups, int threads) {
  Cut c{std::min(rows, kGemmRows), 16};
  if (threads == 1) return {c.rows, panels};
  const auto tasks = [&] { return groups * parts(rows, c.rows) * parts(panels, c.panels); };
  while (c.panels > 4 && tasks() < 4 * threads) c.panels /= 2;
  while (c.rows > 48 && tasks() < 4 * threads) c.rows = parts(c.rows, 2);
  while (c.panels > 2 && tasks() < 2 * threads) c.panels /= 2;
  return c;
}

// Estimated nanoseconds on one core: bytes of weights at its read bandwidth, or products at its arithmetic.
int64_t work(int64_t rows, int64_t experts, int64_t panels, int64_t k) {
  const int64_t weights = panels * kPanel * k;
  return std::max(experts * weights / 16, rows * weights / 64);
}

void dense(Machine& m, GemmTask task, int64_t rows, int64_t panels) {
  const int64_t ns = work(rows, 1, panels, task.k);
  const Cut c = cut(rows, panels, 1, m.pool.useful_threads(ns));
  const int64_t columns = parts(panels, c.panels), row_parts = parts(rows, c.rows);
  m.pool.run(row_parts * columns, ns, [&](int64_t i, int worker) {
    GemmTask part = task;
    const int64_t row_part = i / columns;
    part.first_row = rows * row_part / row_parts;
    part.last_row = rows * (row_part + 1) / row_parts;
    part.first_panel = i % columns * c.panels;
    part.last_panel = std::min(panels, part.first_panel + c.panels);
    m.kernels.gemm_f32(part, m.scratch(worker));
  });
}

// Rows come sorted by expert: expert e has rows offsets[e] .. offsets[e+1]-1.
void grouped(Machine& m, GemmTask task, const int32_t* offsets, const Weight& weight, int64_t panels) {
  const int64_t experts = weight.experts;
  if (offsets[experts] == 0) return;
  int64_t used = 0;
  for (int64_t e = 0; e < experts; e++) used += offsets[e + 1] > offsets[e];
  const int64_t rows = offsets[experts], ns = work(rows, used, panels, task.k);
  const Cut c = cut(parts(rows, used), panels, used, m.pool.useful_threads(ns));
  const int64_t columns = parts(panels, c.panels);

  struct Strip {  // all panels of some rows of one expert
    int64_t expert, first_row, last_row;
  };
  std::vector<Strip> strips;
  for (int64_t e = 0; e < experts; e++) {
    const int64_t count = offsets[e + 1] - offsets[e], row_parts = parts(count, std::max<int64_t>(c.rows, 96));
    for (int64_t p = 0; p < row_parts; p++) strips.push_back({e, offsets[e] + count * p / row_parts, offsets[e] + count * (p + 1) / row_parts});
  }
  m.pool.run(static_cast<int64_t>(strips.size()) * columns, ns, [&](int64_t i, int worker) {
    const Strip& strip = strips[i / columns];
    GemmTask part = task;
    part.weight = panels_of(weight, strip.expert);
    part.first_row = strip.first_row;
    part.last_row = strip.last_row;
    part.first_panel = i % columns * c.panels;
    part.last_panel = std::min(panels, part.first_panel + c.panels);
    m.kernels.gemm_bf16(part, m.scratch(worker));
  });
}

// x as products with the weight take it.
const void* rows_for(Machine& m, const View& x, const Weight& weight) {
  if (!weight.type.fp8_rows) return x.data;
  const int64_t rows = x.size(0), k = x.size(1), parts = std::min<int64_t>(rows, m.pool.threads() * 4);
  float* rounded = m.shared(rows * k);
  m.pool.run(parts, rows * k, [&](int64_t i, int) {
    for (int64_t row = rows * i / parts; row < rows * (i + 1) / parts; row++) {
      if (x.dtype == DType::kBf16) round_row(x.as<bf16>() + row * k, k, reinterpret_cast<bf16*>(rounded) + row * k);
      else round_row(x.as<float>() + row * k, k, rounded + row * k);
    }
  });
  return rounded;
}

GemmTask whole(Machine& m, const View& x, const Weight& weight, int64_t width, Epilogue epilogue, void* out) {
  return {rows_for(m, x, weight), nullptr, 1, weight.k, panels_of(weight, 0), width, epilogue, out, 0, 0, 0, 0};
}

}  // namespace

void linear(Machine& m, const LinearArgs& a) {
  const int64_t n = a.weight->n;
  dense(m, whole(m, a.x, *a.weight, n, a.accumulate ? Epilogue::kAdd : Epilogue::kStore, a.out.as<float>()), a.x.size(0), parts(n, kPanel));
}

void grouped_gate_up(Machine& m, const GroupedGateUpArgs& a) {
  GemmTask task = whole(m, a.x, *a.weight, a.weight->n / 2, Epilogue::kSwiGlu, a.out.as<bf16>());
  task.source = a.source.as<int32_t>();
  task.slots = a.source.size(0) / a.x.size(0);
  grouped(m, task, a.offsets.as<int32_t>(), *a.weight, a.weight->n / kPanel);
}

void grouped_linear(Machine& m, const GroupedLinearArgs& a) {
  const int64_t n = a.weight->n;
  grouped(m, whole(m, a.x, *a.weight, n, Epilogue::kStore, a.out.as<float>()), a.offsets.as<int32_t>(), *a.weight, parts(n, kPanel));
}

}  // namespace m2::cpu
