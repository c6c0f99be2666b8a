// Warp functions against plain loops, and what is said where lanes do not come together.
#include "../device_test.h"

namespace m2::test {
namespace {

constexpr int kValues = 14;

__global__ void warp_functions_kernel(const int* in, int* out, int width) {
  const int lane = threadIdx.x % 32, x = in[threadIdx.x];
  int* mine = out + threadIdx.x * kValues;
  mine[0] = __shfl_sync(cuda::kFullMask, x, lane * 7 + 3, width);
  mine[1] = __shfl_up_sync(cuda::kFullMask, x, 3, width);
  mine[2] = __shfl_down_sync(cuda::kFullMask, x, 5, width);
  mine[3] = __shfl_xor_sync(cuda::kFullMask, x, 6, width);
  mine[4] = static_cast<int>(__ballot_sync(cuda::kFullMask, x & 1));
  mine[5] = __any_sync(cuda::kFullMask, x == 9);
  mine[6] = __all_sync(cuda::kFullMask, x < 1000);
  mine[7] = static_cast<int>(__match_any_sync(cuda::kFullMask, x % 3));
  mine[8] = __reduce_add_sync(cuda::kFullMask, x);
  mine[9] = __reduce_min_sync(cuda::kFullMask, x - 50);
  mine[10] = __reduce_max_sync(cuda::kFullMask, x - 50);
  mine[11] = static_cast<int>(__reduce_xor_sync(cuda::kFullMask, static_cast<unsigned>(x)));
  const double wide = __shfl_xor_sync(cuda::kFullMask, x + 0.25, 1);
  mine[12] = static_cast<int>(4 * wide);
  const __nv_bfloat16 narrow = __shfl_xor_sync(cuda::kFullMask, __float2bfloat16_rn(x % 100), 1);
  mine[13] = static_cast<int>(__bfloat162float(narrow));
}

std::vector<int> expected_of(const std::vector<int>& in, int width) {
  std::vector<int> out(in.size() * kValues);
  for (size_t t = 0; t < in.size(); t++) {
    const int* warp = &in[t / 32 * 32];
    const int lane = static_cast<int>(t % 32), base = lane / width * width, place = lane % width;
    const auto at = [&](int p, bool inside) { return inside ? warp[base + p] : warp[lane]; };
    int* mine = &out[t * kValues];
    mine[0] = warp[base + (lane * 7 + 3) % width];
    mine[1] = at(place - 3, place >= 3);
    mine[2] = at(place + 5, place + 5 < width);
    mine[3] = at(place ^ 6, (place ^ 6) < width);
    int smallest = 1 << 30, largest = -(1 << 30);
    for (int l = 0; l < 32; l++) {
      mine[4] |= (warp[l] & 1) << l;
      mine[5] |= warp[l] == 9;
      mine[7] |= (warp[l] % 3 == warp[lane] % 3) << l;
      mine[8] += warp[l];
      smallest = std::min(smallest, warp[l] - 50);
      largest = std::max(largest, warp[l] - 50);
      mine[11] ^= warp[l];
    }
    mine[6] = 1;
    mine[9] = smallest;
    mine[10] = largest;
    mine[12] = 4 * warp[lane ^ 1] + 1;
    mine[13] = warp[lane ^ 1] % 100;
  }
  return out;
}

}  // namespace

CASE("warps: shuffles, votes, matches and reductions") {
  std::mt19937 random(1);
  std::vector<int> in(96);
  for (int& x : in) x = static_cast<int>(random() % 100);
  for_each_seed([&] {
    for (int width : {32, 16, 8}) {
      const DeviceArray<int> dx(in), out(in.size() * kValues);
      run_kernel<warp_functions_kernel>({.grid = 1, .block = 96}, dx.data(), out.data(), width);
      EXPECT(out.values() == expected_of(in, width), "width ", width);
    }
  });
}

namespace {

__global__ void halves_kernel(int* out) {
  const unsigned mask = threadIdx.x < 16 ? 0xffffu : 0xffff0000u;
  out[threadIdx.x] = __reduce_add_sync(mask, static_cast<int>(threadIdx.x));
}
__global__ void outside_mask_kernel(unsigned* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xffffu, threadIdx.x, 20);
}
__global__ void divergent_kernel(int* out) {
  if (threadIdx.x < 16) out[0] = __any_sync(cuda::kFullMask, 1);
  else out[1] = __shfl_sync(cuda::kFullMask, 1, 0);
}
__global__ void ends_early_kernel(int* out) {
  if (threadIdx.x == 3) return;
  out[threadIdx.x] = __shfl_sync(cuda::kFullMask, 1, 0);
}
__global__ void wrong_mask_kernel(int* out) { out[threadIdx.x] = __shfl_sync(0xfeu, 1, 1); }
__global__ void other_widths_kernel(int* out) { out[threadIdx.x] = __shfl_sync(cuda::kFullMask, 1, 0, threadIdx.x < 8 ? 8 : 16); }
__global__ void missing_lane_kernel(int* out) {
  if (threadIdx.x != 5) out[threadIdx.x] = __any_sync(cuda::kFullMask, 1);
  else __syncthreads();
}

}  // namespace

CASE("warps: masks of parts, and lanes outside them") {
  for_each_seed([] {
    const DeviceArray<int> out(32);
    run_kernel<halves_kernel>({.grid = 1, .block = 32}, out.data());
    for (int i = 0; i < 32; i++) EXPECT(out.values()[i] == (i < 16 ? 120 : 376));
    const DeviceArray<unsigned> undefined(32);
    run_kernel<outside_mask_kernel>({.grid = 1, .block = 32}, undefined.data());
    EXPECT(undefined.values()[0] == 0xffffffffu, "what a lane outside the mask gives is poison");
  });
}

CASE("warps: lanes that do not come together are reported") {
  for_each_seed([] {
    const auto said = [](const std::string& report, const char* words) { EXPECT(contains(report, words), report); };
    const Shape warp{.grid = 1, .block = 32};
    int* out = nullptr;
    const auto fresh = [&out] {
      succeed(cudaMalloc(&out, 256));
      return out;
    };
    said(report_of<divergent_kernel>(warp, fresh()), "a warp diverges");
    said(report_of<ends_early_kernel>(warp, fresh()), "end");  // it "ends" while others wait, or "has ended" when they come
    said(report_of<wrong_mask_kernel>(warp, fresh()), "leaves out the calling lane");
    said(report_of<other_widths_kernel>(warp, fresh()), "a warp diverges");
    const std::string stuck = report_of<missing_lane_kernel>(warp, fresh());
    said(stuck, "deadlock");
    said(stuck, "31 threads: a vote");
    said(stuck, "missing_lane_kernel");
    said(stuck, "block (0,0,0) thread");
  });
}

}  // namespace m2::test
