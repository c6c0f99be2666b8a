// The ops of the CUDA backend, each in the file of its name: views to raw pointers, shapes to a kernel and its grid. A launcher neither allocates nor
// waits; what it needs beside its arguments it takes from the machine's scratch, whose size for the largest call `..._scratch` tells.
#pragma once
#include "core/ops.h"
#include "cuda/machine.h"
#include "cuda/staging.h"

namespace m2::cuda {

// weights.cu
size_t weight_bytes(int64_t experts, int64_t n, int64_t k, WeightType type);
const uint4* records_of(const Weight&);  // the scales of all experts, as gemm/codec.h has them
void pack(const Machine&, Staging&, Weight&, int64_t expert, int64_t first_row, const MatrixRows& rows);
void fill_random(const Machine&, Staging&, Weight&, uint64_t seed);
// tokens.cu
void embed(const Machine&, const EmbedArgs&);
void rms_norm(const Machine&, const RmsNormArgs&);
void qk_norm_rope_store(const Machine&, const QkNormRopeStoreArgs&);
// attention/
void attention(const Machine&, const AttentionArgs&);
size_t attention_scratch(const Machine&, const Workload&);
// gemm/
void linear(const Machine&, const LinearArgs&);
void grouped_gate_up(const Machine&, const GroupedGateUpArgs&);
void grouped_linear(const Machine&, const GroupedLinearArgs&);
void experts_down(const Machine&, const ExpertsDownArgs&);
size_t product_scratch(const Machine&, int64_t rounded);  // rounded: as Workload has it
// experts/
void route(const Machine&, const RouteArgs&);
size_t route_scratch(const Workload&);
void unpermute(const Machine&, const UnpermuteArgs&);
// rows.cu
void set_pages(const Machine&, const SetPagesArgs&);
void start_histories(const Machine&, const StartHistoriesArgs&);
// fill.cu
void fill_random(const Machine&, void* data, DType dtype, int64_t count, float scale, uint64_t seed, int64_t first = 0);
// sampling/
void sample(const Machine&, const SampleArgs&);
size_t sample_scratch(const Workload&);

}  // namespace m2::cuda
