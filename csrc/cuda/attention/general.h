// Attention for any cache and head dim.
#pragma once
#include "cuda/attention/work.h"
#include "cuda/machine.h"

namespace m2::cuda {

void general_attention(const Machine&, const AttentionTask&, DType cache, int64_t tokens);

}  // namespace m2::cuda
