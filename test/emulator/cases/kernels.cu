// The test kernels, right under every seed; and how long they take.
#include <chrono>

#include "../problems.h"

namespace m2::test {

template <class Run>
void is_right(const char* name, Run run) {
  for_each_seed([&] {
    const auto start = std::chrono::steady_clock::now();
    const std::string failed = run();
    const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    EXPECT(failed.empty(), name, ": ", failed);
    if (emulator::settings().seed < 4) std::printf("%-40s seed %llu %8.1f ms\n", name, static_cast<unsigned long long>(emulator::settings().seed), ms);
  });
}

CASE("row norm") {
  is_right("row norm 4 x 2048", [] { return run_row_norm(4, 2048); });
  is_right("row norm 3 x 2880", [] { return run_row_norm(3, 2880); });
}

CASE("gemm with mma.sync") {
  const GemmProblem square(256, 256, 256, false), ragged(130, 70, 192, false);
  is_right("gemm mma.sync 256 x 256 x 256", [&] { return run_gemm_mma(square); });
  is_right("gemm mma.sync 130 x 70 x 192", [&] { return run_gemm_mma(ragged); });
}

CASE("attention") {
  const AttentionProblem long_one(512, 512, 1, 1), ragged(37, 201, 4, 2), decode(1, 333, 8, 1);
  is_right("attention 512 of 512, 1 head", [&] { return run_attention(long_one); });
  is_right("attention 37 of 201, heads 4/2", [&] { return run_attention(ragged); });
  is_right("attention 1 of 333, heads 8/1", [&] { return run_attention(decode); });
}

CASE("gemm with wgmma") {
  const GemmProblem square(256, 256, 512, false), ragged(200, 136, 328, false), transposed(256, 128, 512, true), small(128, 128, 512, false);
  is_right("gemm wgmma 256 x 256 x 512", [&] { return run_gemm_wgmma<>(square); });
  is_right("gemm wgmma 200 x 136 x 328", [&] { return run_gemm_wgmma<>(ragged); });
  is_right("gemm wgmma, b transposed, 256 x 128 x 512", [&] { return run_gemm_wgmma<1>(transposed); });
  is_right("gemm wgmma, a in registers, 128 x 128 x 512", [&] { return run_gemm_wgmma<0, true>(small); });
}

}  // namespace m2::test

