// The product kernels, as launchers see them.
#pragma once
#include "cuda/gemm/plan.h"
#include "cuda/gemm/task.h"
#include "cuda/machine.h"

namespace m2::cuda {

// combination: of the output rows, once all are written; without `out`: none.
void gemm_small(const Machine&, const GemmTask&, const GemmPlan&, const Combination& combination);
void gemm_small_fp8(const Machine&, const GemmTask&, const GemmPlan&, const Combination& combination);  // sm_90a alone
void gemm_tiled(const Machine&, const GemmTask&, const GemmPlan&);
void gemm_wgmma(const Machine&, const GemmTask&, const GemmPlan&);  // sm_90a alone
void gemm_wgmma_fp8(const Machine&, const GemmTask&, const GemmPlan&);  // sm_90a alone

// Rounds the rows of the task's x, which is then what a product of those takes: on Hopper e4m3 and scales, elsewhere bf16. In scratch memory.
void round_rows(const Machine&, GemmTask&);

}  // namespace m2::cuda
