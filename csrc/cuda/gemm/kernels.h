// The product kernels, as launchers see them.
#pragma once
#include "cuda/gemm/plan.h"
#include "cuda/gemm/task.h"
#include "cuda/machine.h"

namespace m2::cuda {

// combination: of the output rows, once all are written; without `out`: none.
void gemm_small(const Machine&, const GemmTask&, const GemmPlan&, const Combination& combination);
void gemm_tiled(const Machine&, const GemmTask&, const GemmPlan&);
void gemm_wgmma(const Machine&, const GemmTask&, const GemmPlan&);  // sm_90a alone

}  // namespace m2::cuda
