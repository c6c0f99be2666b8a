// Attention by mma, on any architecture: for decoding, and for prompts where warpgroups.cu has no kernel. For a cache of bf16 or e4m3 (T) and heads of 64 or
// 128 dims.
//
//   attention_kernel<T, D, 1>  decoding: a team is a warp with a row tile of 16, a block has up to six
//   attention_kernel<T, D, 8>  prompts: a team is a block with a row tile of 128
//
// One block per multiprocessor. Each row tile reads its K and V once. For decoding that is all there is to read, 512 D bytes of bf16 a tile, and what bounds it:
// of the 4.3 TB/s that HBM gives a multiprocessor gets 18.6 bytes a cycle, for which 26 KiB must be on their way. There are 128 KiB of bf16 (two slots for each of
// four teams) or 96 KiB of e4m3 (six teams). A tile of 64 tokens and 128 dims costs a team some 1,900 cycles (128 mma, 64 ldmatrix, 32 exponentials a lane, and
// what they wait for each other) and as e4m3 some 3,000 (32 times eight elements a lane to widen), while HBM brings four teams one each in 7,000 cycles, and six
// teams one of e4m3 each in 5,300: both should read at what HBM gives. A cut row tile also writes (D + 2) 4 bytes for each row and piece.
#include "cuda/attention/kernels.h"
#include "cuda/attention/team.h"
#include "cuda/launch.h"
#include "cuda/ptx/launch.h"

namespace m2::cuda {
namespace {

template <int kWarps>
constexpr int kMostThreads = kWarp * (kWarps == 1 ? TeamShape::kMostDecodeTeams : kWarps);

template <class T, int D, int kWarps>
__global__ void __launch_bounds__(kMostThreads<kWarps>, 1) attention_kernel(const AttentionTask task, const AttentionScratch scratch) {
  M2_SHARED(int64_t, sums, [kMostThreads<kWarps> + 1]);
  M2_SHARED(Job, jobs, [kMostThreads<kWarps> / kWarp / kWarps]);
  ptx::let_next_kernel_start();
  const int teams = blockDim.x / kWarp / kWarps, team = threadIdx.x / kWarp / kWarps, worker = blockIdx.x * teams + team;
  const Work<16 * kWarps> work(task, gridDim.x * teams, sums);
  Job& job = jobs[team];
  const auto find_job = [&](int64_t x) {
    const int64_t end = work.begin(worker + 1);
    if (x >= end || threadIdx.x % (kWarps * kWarp) != 0) return;
    job.unit = work.at(x);
    job.part = work.part(job.unit, x, end);
  };
  int64_t x = work.begin(worker);
  find_job(x);
  ptx::wait_for_previous_kernel();
  while (x < work.begin(worker + 1)) {
    meet<kWarps>();  // the job is there
    if (job.part.first < job.part.end) attend<T, D, kWarps>(task, scratch, job);
    x = job.unit.end;
    meet<kWarps>();  // nobody is at it any more, nor at its tiles
    find_job(x);
  }
}

template <class T, int kWarps>
void launch_kernel(const Machine& m, const AttentionTask& task, const AttentionScratch& scratch, const RowsPlan& plan) {
  const Launch l{.grid = plan.blocks, .block = plan.threads, .shared = plan.shared};
  if (task.kv.head_dim == 128) launch<attention_kernel<T, 128, kWarps>>(m, l, task, scratch);
  else launch<attention_kernel<T, 64, kWarps>>(m, l, task, scratch);
}
template <int kWarps>
void launch_kernel(const Machine& m, const AttentionTask& task, const AttentionScratch& scratch, const RowsPlan& plan) {
  if (task.kv.dtype == DType::kBf16) launch_kernel<__nv_bfloat16, kWarps>(m, task, scratch, plan);
  else launch_kernel<f8, kWarps>(m, task, scratch, plan);
}

}  // namespace

void team_attention(const Machine& m, const AttentionTask& task, const AttentionScratch& scratch, const RowsPlan& plan) {
  if (plan.warps == 1) launch_kernel<1>(m, task, scratch, plan);
  else launch_kernel<TeamShape::kPrefillWarps>(m, task, scratch, plan);
}

}  // namespace m2::cuda
