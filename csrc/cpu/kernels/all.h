// The table of kernels over one SIMD wrapper.
#pragma once
#include "cpu/kernels/attention.h"
#include "cpu/kernels/ceilings.h"
#include "cpu/kernels/experts.h"
#include "cpu/kernels/gemm.h"
#include "cpu/kernels/norm.h"
#include "cpu/kernels/pack.h"
#include "cpu/kernels/sampling.h"

namespace m2::cpu {

template <class S>
constexpr Kernels kernels_over() {
  return {
      .name = S::kName,
      .pack = pack<S>,
      .gemm_f32 = gemm<S, F32Input<S>>,
      .gemm_bf16 = gemm<S, Bf16Input<S>>,
      .attend = attend<S>,
      .merge_states = merge_states<S>,
      .write_attention = write_attention<S>,
      .embed_row = embed_row<S>,
      .rms_norm = rms_norm<S>,
      .qk_norm_rope_store = qk_norm_rope_store<S>,
      .route_scores = route_scores<S>,
      .route_choose = route_choose<S>,
      .unpermute = unpermute<S>,
      .row_facts = row_facts<S>,
      .sum_exp = sum_exp<S>,
      .find_greater = find_greater<S>,
      .read = read<S>,
      .multiply_f32 = multiply_f32<S>,
      .multiply_bf16 = multiply_bf16<S>,
  };
}

}  // namespace m2::cpu
