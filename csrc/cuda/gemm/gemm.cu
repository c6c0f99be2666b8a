// Matrix products of the ops: views to a task, a plan for its sizes, and the kernel that the plan names.
#include "cuda/gemm/kernels.h"
#include "cuda/launchers.h"

namespace m2::cuda {
namespace {

GemmTask product(const View& x, int64_t rows, const Weight& weight, Output output, const View& out) {
  return {.x = bf16_data(x.data), .source = nullptr, .slots = 1, .offsets = nullptr, .groups = static_cast<int>(weight.experts), .rows = static_cast<int>(rows),
          .k = static_cast<int>(weight.k), .panels = static_cast<int>(panels_of(weight.n)), .type = weight.type, .weight = static_cast<const uint4*>(weight.data.data()), .records = records_of(weight),
          .output = output, .width = static_cast<int>(out.size(1)), .out = out.data};
}

GemmTask grouped_product(const GroupedLinearArgs& a) {
  GemmTask task = product(a.x, a.x.size(0), *a.weight, Output::kBf16, a.out);
  task.offsets = a.offsets.as<int32_t>();
  return task;
}

// Whether the combination, where one is asked for, is done too.
bool run(const Machine& m, GemmTask task, const Combination& combination = {}) {
  const GemmShape shape{.rows = task.rows, .groups = task.groups, .n = static_cast<int64_t>(task.panels) * kPanel, .k = task.k, .format = facts_of(task.type), .gathers = task.source != nullptr};
  const GemmPlan plan = plan_gemm(m.architecture(), m.multiprocessors(), m.shared_per_block(), shape);
  if (task.type.fp8_rows && plan.columns == 0) round_rows(m, task);
  if (plan.columns > 0) gemm_small_fp8(m, task, plan, combination);
  else if (plan.tile_rows == 0) gemm_small(m, task, plan, combination);
  else if (plan.consumers > 0 && task.codes) gemm_wgmma_fp8(m, task, plan);
  else if (plan.consumers > 0) gemm_wgmma(m, task, plan);
  else gemm_tiled(m, task, plan);
  return plan.tile_rows == 0;
}

}  // namespace

void linear(const Machine& m, const LinearArgs& a) {
  const Output output = a.accumulate ? Output::kAddF32 : a.out.dtype == DType::kF32 ? Output::kF32 : Output::kBf16;
  run(m, product(a.x, a.x.size(0), *a.weight, output, a.out));
}

void grouped_gate_up(const Machine& m, const GroupedGateUpArgs& a) {
  const int64_t rows = a.source.size(0);
  GemmTask task = product(a.x, rows, *a.weight, Output::kSwiGlu, a.out);
  task.source = a.source.as<int32_t>();
  task.slots = static_cast<int>(rows / a.x.size(0));
  task.offsets = a.offsets.as<int32_t>();
  run(m, task);
}

void grouped_linear(const Machine& m, const GroupedLinearArgs& a) { run(m, grouped_product(a)); }

void experts_down(const Machine& m, const ExpertsDownArgs& a) {
  const GemmTask task = grouped_product({a.x, a.offsets, a.weight, a.y});
  const Combination combination{a.target.as<int32_t>(), a.weights.as<float>(), static_cast<int>(a.target.size(0)), static_cast<int>(a.target.size(1)), a.out.as<float>(), m.counters(task.panels)};
  if (!run(m, task, combination)) unpermute(m, {a.y, a.target, a.weights, a.out});
}

}  // namespace m2::cuda
