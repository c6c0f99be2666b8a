// async_copy.h: cp_async_16, cp_async_8, cp_async_4, cp_async_commit, cp_async_wait, cp_async_wait_all, cp_async_mbarrier_arrive_noinc.
#include "cuda/ptx/async_copy.h"

#include "../case.h"
#include "cuda/ptx/mbarrier.h"

namespace m2::test {
namespace {

// Thread t copies with t source bytes, as many as the copy may have.
__global__ void source_bytes_kernel(uint32_t* out, const uint4* in) {
  M2_SHARED(uint4, sixteen, [17]);
  M2_SHARED(uint2, eight, [9]);
  M2_SHARED(uint32_t, four, [5]);
  const int t = threadIdx.x;
  if (t <= 16) ptx::cp_async_16(ptx::shared_address(&sixteen[t]), in + t, t);
  if (t <= 8) ptx::cp_async_8(ptx::shared_address(&eight[t]), in + t, t);
  if (t <= 4) ptx::cp_async_4(ptx::shared_address(&four[t]), in + t, t);
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
  __syncthreads();
  if (t <= 16) {
    out[4 * t] = sixteen[t].x;
    out[4 * t + 1] = sixteen[t].y;
    out[4 * t + 2] = sixteen[t].z;
    out[4 * t + 3] = sixteen[t].w;
  }
  if (t <= 8) {
    out[68 + 2 * t] = eight[t].x;
    out[68 + 2 * t + 1] = eight[t].y;
  }
  if (t <= 4) out[86 + t] = four[t];
}

// Four copies of a thread in three groups and none, read as soon as they may be.
__global__ void groups_kernel(uint32_t* out, const uint32_t* in) {
  M2_SHARED(uint4, slot, [4][32]);
  const int t = threadIdx.x;
  const auto copy = [&](int i) { ptx::cp_async_16(ptx::shared_address(&slot[i][t]), in + (i * 32 + t) * 4); };
  const auto read = [&](int i) { out[i * 32 + t] = slot[i][t].x ^ slot[i][t].y ^ slot[i][t].z ^ slot[i][t].w; };
  for (int i = 0; i < 3; i++) {
    copy(i);
    ptx::cp_async_commit();
  }
  ptx::cp_async_wait<2>();
  read(0);
  ptx::cp_async_wait<1>();
  read(1);
  copy(3);
  ptx::cp_async_wait_all();
  read(2);
  read(3);
}

// Two copies of each thread, seen by the others behind the mbarrier that counts them.
__global__ void mbarrier_arrive_kernel(uint32_t* out, const uint32_t* in) {
  M2_SHARED(uint2, slot, [2][64]);
  M2_SHARED(uint64_t, barrier, [1]);
  const int t = threadIdx.x;
  const uint32_t bar = ptx::shared_address(barrier);
  if (t == 0) ptx::mbarrier_init(bar, 64);
  __syncthreads();
  ptx::cp_async_8(ptx::shared_address(&slot[0][t]), in + 2 * t);
  ptx::cp_async_4(ptx::shared_address(&slot[1][t].x), in + 128 + t);
  ptx::cp_async_4(ptx::shared_address(&slot[1][t].y), in + 192 + t);
  ptx::cp_async_mbarrier_arrive_noinc(bar);
  ptx::mbarrier_wait(bar, 0);
  for (int i = 0; i < 2; i++) {
    out[i * 128 + t] = slot[i][63 - t].x;
    out[i * 128 + 64 + t] = slot[i][63 - t].y;
  }
}

}  // namespace

CONFORMANCE("cp.async: source bytes", 80) {
  const std::vector<uint32_t> in = scattered(17 * 4);
  const DeviceArray<uint32_t> given(in), got(91);
  run_kernel<source_bytes_kernel>({.grid = 1, .block = 32}, got.data(), reinterpret_cast<const uint4*>(given.data()));
  std::vector<uint32_t> truth(91);
  size_t at = 0;
  for (size_t bytes : {16, 8, 4}) {
    for (size_t t = 0; t <= bytes; t++, at += bytes / 4) std::memcpy(&truth[at], &in[4 * t], t);
  }
  out.exact("cp_async/source_bytes", got.values(), truth);
}

CONFORMANCE("cp.async: groups", 80) {
  const std::vector<uint32_t> in = scattered(4 * 32 * 4);
  const DeviceArray<uint32_t> given(in), got(4 * 32);
  run_kernel<groups_kernel>({.grid = 1, .block = 32}, got.data(), given.data());
  std::vector<uint32_t> truth(4 * 32);
  for (size_t i = 0; i < in.size(); i++) truth[i / 4] ^= in[i];
  out.exact("cp_async/groups", got.values(), truth);
}

CONFORMANCE("cp.async: mbarrier", 90) {
  const std::vector<uint32_t> in = scattered(256);
  const DeviceArray<uint32_t> given(in), got(256);
  run_kernel<mbarrier_arrive_kernel>({.grid = 1, .block = 64}, got.data(), given.data());
  std::vector<uint32_t> truth(256);
  for (size_t t = 0; t < 64; t++) {
    truth[t] = in[2 * (63 - t)];
    truth[64 + t] = in[2 * (63 - t) + 1];
    truth[128 + t] = in[128 + 63 - t];
    truth[192 + t] = in[192 + 63 - t];
  }
  out.exact("cp_async_mbarrier_arrive_noinc", got.values(), truth);
}

}  // namespace m2::test
