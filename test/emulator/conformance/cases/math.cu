// math.h: exp2_approx.
#include "cuda/ptx/math.h"

#include <cmath>
#include <limits>

#include "../case.h"

namespace m2::test {
namespace {

__global__ void exp2_kernel(float* out, const float* in) { out[threadIdx.x] = ptx::exp2_approx(in[threadIdx.x]); }

std::vector<float> exp2_of(const std::vector<float>& in) {
  const DeviceArray<float> given(in), got(in.size());
  run_kernel<exp2_kernel>({.grid = 1, .block = dim3(static_cast<unsigned>(in.size()))}, got.data(), given.data());
  return got.values();
}

}  // namespace

CONFORMANCE("ex2.approx", 80) {
  std::vector<float> in;
  for (int i = -126; i < 128; i += 6) in.push_back(static_cast<float>(i));
  for (int i = 0; i < 84; i++) in.push_back(-10.0f + 0.237f * static_cast<float>(i));
  for (float x : {1e-30f, -1e-30f, 1e-7f, -125.5f, 127.99f}) in.push_back(x);
  std::vector<double> truth;
  for (float x : in) truth.push_back(std::exp2(static_cast<double>(x)));
  out.within(0x1p-22, "exp2_approx", exp2_of(in), truth, truth);
}

// Infinities, what becomes one, what is flushed to zero, subnormal arguments and NaN.
CONFORMANCE("ex2.approx: edges", 80) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<float> got = exp2_of({kInfinity, -kInfinity, 128, 1e30f, -127, -140, -1e30f, 0, -0.0f, 1e-40f, -1e-40f, std::nanf("")});
  out.exact("exp2_approx/edges", std::vector<float>(got.begin(), got.end() - 1), {kInfinity, 0, kInfinity, kInfinity, 0, 0, 0, 1, 1, 1, 1});
  out.exact("exp2_approx/nan", std::vector<uint32_t>{std::isnan(got.back())}, {1});
}

}  // namespace m2::test
