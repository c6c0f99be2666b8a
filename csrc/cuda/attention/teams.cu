// Attention by teams of warps: for decoding, and for prompts where warpgroups.cu has no kernel. For a cache of bf16 or e4m3 and heads of 64 or 128 dims. One
// block per multiprocessor.
//
//   DimTeam  decoding: four warps have a row tile of 16, a block has up to three of them
//   RowTeam  prompts: a block has a row tile of 128
//
//   MmaProducts  in bf16, by mma.sync, on any architecture
//   TeamCodes    in e4m3, by wgmma, for decoding on Hopper
//
// Each row tile reads its K and V once. For decoding that is all there is to read, and what bounds it: of the 4.3 TB/s that HBM gives, a multiprocessor gets
// 18.6 bytes a cycle, for which some 26 KiB must be on their way. There are 144 KiB of bf16 or 120 KiB of e4m3, in three teams. A tile of 64 tokens and 128
// dims is 32 KiB of bf16 or 16 KiB of e4m3, which a multiprocessor gets in 1,760 or 880 cycles. A team should take some 1,000 for one, and 1,300 of e4m3 (of
// which the softmax, which all four warps do, is some 500; of e4m3 that is multiplied as it is some 1,000: the softmax, 256 of products with 200 of waiting for
// them, 100 to turn values around): even one that is alone, with a chunk of 1,024 tokens that the others have no part in, takes no more
// than 1.5 times what HBM would. So borders between chunks decide. Predicted shares of what HBM gives, for 48 heads on 8 and 132 multiprocessors, from the
// longest part that work.h deals out:
//
//   tokens                  1k  2k  4k  8k  16k  32k  64k  128k
//   one sequence, bf16      97  48  97  97   78   86   91    94 %
//   one sequence, e4m3      66  33  66  97   66   86   91    94
//   four sequences          97  78  97  97   91   94   97    97
//   sixteen                 97 at all of them
//
// A cut row tile also writes (D + 2) 4 bytes for each row and piece.
#include "cuda/attention/kernels.h"
#include "cuda/attention/team.h"
#include "cuda/launch.h"
#include "cuda/ptx/launch.h"

namespace m2::cuda {
namespace {

template <class Team>
constexpr int kMostTeams = Team::kSharesRows ? TeamShape::kMostDecodeTeams : 1;
template <class Team>
constexpr int kMostThreads = kMostTeams<Team> * Team::kWarps * kWarp;

template <class T, class Team>
__global__ void __launch_bounds__(kMostThreads<Team>, 1) attention_kernel(const AttentionTask task, const AttentionScratch scratch) {
  if constexpr (std::is_same_v<T, f8_operand> && !M2_HOPPER) return;
  M2_SHARED(int64_t, sums, [kMostThreads<Team> + 1]);
  M2_SHARED(Job, jobs, [kMostTeams<Team>]);
  ptx::let_next_kernel_start();
  const int teams = blockDim.x / kWarp / Team::kWarps, worker = blockIdx.x * teams + Team::index();
  const Work<Team::kRows> work(task, gridDim.x * teams, sums);
  Job& job = jobs[Team::index()];
  const auto find_job = [&](int64_t x) {
    const int64_t end = work.begin(worker + 1);
    if (x >= end || threadIdx.x % (Team::kWarps * kWarp) != 0) return;
    job.unit = work.at(x);
    job.part = work.part(job.unit, x, end);
  };
  int64_t x = work.begin(worker);
  find_job(x);
  ptx::wait_for_previous_kernel();
  while (x < work.begin(worker + 1)) {
    Team::meet();  // the job is there
    if (job.part.first < job.part.end) attend<T, Team>(task, scratch, job, teams);
    x = job.unit.end;
    Team::meet();  // nobody is at it any more, nor at its tiles
    find_job(x);
  }
}

template <class T, template <int> class Team>
void launch_kernel(const Machine& m, const AttentionTask& task, const AttentionScratch& scratch, const RowsPlan& plan) {
  const Launch l{.grid = plan.blocks, .block = plan.threads, .shared = plan.shared};
  if (task.kv.head_dim == 128) launch<attention_kernel<T, Team<128>>>(m, l, task, scratch);
  else launch<attention_kernel<T, Team<64>>>(m, l, task, scratch);
}
template <template <int> class Team>
void launch_kernel(const Machine& m, const AttentionTask& task, const AttentionScratch& scratch, const RowsPlan& plan) {
  if (task.kv.dtype == DType::kBf16) launch_kernel<__nv_bfloat16, Team>(m, task, scratch, plan);
  else launch_kernel<f8, Team>(m, task, scratch, plan);
}

}  // namespace

void team_attention(const Machine& m, const AttentionTask& task, const AttentionScratch& scratch, const RowsPlan& plan, int rows) {
  if (plan.kernel == AttentionKernel::kTeamCodes) launch_kernel<f8_operand, DimTeam>(m, task, scratch, plan);
  else if (rows == kDecodeRows) launch_kernel<DimTeam>(m, task, scratch, plan);
  else launch_kernel<RowTeam>(m, task, scratch, plan);
}

}  // namespace m2::cuda
