// What tests of the emulated device share: device.h, seeds, and what a failed launch has to say.
#pragma once
#include <cmath>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "device.h"
#include "emulator/control.h"

namespace m2::test {

constexpr uint64_t kSeeds = 12;  // every order of threads with every time of completion

// A launch that fails, and what is said about it. The device is as new afterwards.
template <auto kKernel, class... A>
std::string report_of(const Shape& shape, A&&... arguments) {
  cudaError_t status = start<kKernel>(shape, std::forward<A>(arguments)...);
  if (status == cudaSuccess) status = cudaDeviceSynchronize();
  const std::string report = status == cudaSuccess ? "" : emulator::last_report();
  emulator::reset_device();
  return report;
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// body() once for each seed, each time with a new device.
template <class Body>
void for_each_seed(Body body, uint64_t seeds = kSeeds) {
  for (uint64_t seed = 0; seed < seeds; seed++) {
    emulator::settings().seed = seed;
    emulator::reset_device();
    try {
      body();
    } catch (const std::exception& error) {
      emulator::settings().seed = 0;
      emulator::reset_device();
      throw std::runtime_error("seed " + std::to_string(seed) + ": " + error.what());
    }
  }
  emulator::settings().seed = 0;
  emulator::reset_device();
}

inline std::vector<__nv_bfloat16> random_bf16(std::mt19937& random, size_t count, float scale = 1) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<__nv_bfloat16> values(count);
  for (__nv_bfloat16& v : values) v = __float2bfloat16_rn(normal(random));
  return values;
}

// Relative Frobenius error; NaN where `got` has one.
template <class T>
double error_of(const std::vector<T>& got, const std::vector<double>& truth) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < truth.size(); i++) {
    const double d = static_cast<double>(static_cast<float>(got[i])) - truth[i];
    difference += d * d;
    size += truth[i] * truth[i];
  }
  return std::sqrt(difference / size);
}

}  // namespace m2::test
