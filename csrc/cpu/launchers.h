// The ops of the CPU backend, each in the file of its name: views to raw pointers, an op to tasks, tasks to threads. No arithmetic.
#pragma once
#include "cpu/machine.h"

namespace m2::cpu {

// weights.cc
size_t weight_bytes(int64_t experts, int64_t n, int64_t k, WeightType type);
Panels panels_of(const Weight&, int64_t expert);
void pack(Machine&, Weight&, int64_t expert, int64_t first_row, const MatrixRows& rows);
// tokens.cc
void embed(Machine&, const EmbedArgs&);
void rms_norm(Machine&, const RmsNormArgs&);
void qk_norm_rope_store(Machine&, const QkNormRopeStoreArgs&);
// gemm.cc
void linear(Machine&, const LinearArgs&);
void grouped_gate_up(Machine&, const GroupedGateUpArgs&);
void grouped_linear(Machine&, const GroupedLinearArgs&);
// attention.cc
void attention(Machine&, const AttentionArgs&);
// experts.cc
void route(Machine&, const RouteArgs&);
void unpermute(Machine&, const UnpermuteArgs&);
// rows.cc
void set_pages(const SetPagesArgs&);
void start_histories(Machine&, const StartHistoriesArgs&);
// fill.cc
void fill_random(Machine&, void* data, DType dtype, int64_t count, float scale, uint64_t seed, int64_t first = 0);
void fill_random(Machine&, Weight&, uint64_t seed);
// sampling.cc
void sample(Machine&, const SampleArgs&);

}  // namespace m2::cpu
