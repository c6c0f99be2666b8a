// The kernels of attention, each in a file of its own. plan.h says which of them a call takes.
#pragma once
#include "cuda/attention/scratch.h"
#include "cuda/attention/work.h"
#include "cuda/machine.h"

namespace m2::cuda {

// general.cu: row for row.
void general_attention(const Machine&, const AttentionTask&, int64_t tokens);
// teams.cu, warpgroups.cu: the row tiles of a plan; the pieces of those that are cut are in `scratch` then, for merge.cu.
void team_attention(const Machine&, const AttentionTask&, const AttentionScratch&, const RowsPlan&, int rows);
void warpgroup_attention(const Machine&, const AttentionTask&, const AttentionScratch&, const RowsPlan&);
void merge_attention(const Machine&, const AttentionTask&, const AttentionScratch&, const RowsPlan&, int rows);

}  // namespace m2::cuda
