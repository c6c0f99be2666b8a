// Whether a device gives what the CPU backend gives, which the tests of the ops hold against float64. Activations are bf16 on one side and float32 on the
// other, so numbers agree to bf16's rounding and no better: this looks for races and wrong addresses, not for digits.
#pragma once
#include "kernels/cases.h"

namespace m2::kernels {

// Empty, or what differs.
inline std::string difference(const Result& got, const Result& want) {
  const auto sized = [](const char* what, size_t a, size_t b) { return std::string(what) + ": " + std::to_string(a) + " values, expected " + std::to_string(b); };
  if (got.exact.size() != want.exact.size()) return sized("exact", got.exact.size(), want.exact.size());
  if (got.numbers.size() != want.numbers.size()) return sized("numbers", got.numbers.size(), want.numbers.size());
  for (size_t i = 0; i < want.exact.size(); i++) {
    if (got.exact[i] != want.exact[i]) return "exact value " + std::to_string(i) + " is " + std::to_string(got.exact[i]) + ", expected " + std::to_string(want.exact[i]);
  }
  double error = 0, size = 0;
  for (size_t i = 0; i < want.numbers.size(); i++) {
    error += (double{got.numbers[i]} - want.numbers[i]) * (double{got.numbers[i]} - want.numbers[i]);
    size += double{want.numbers[i]} * want.numbers[i];
  }
  const double relative = size > 0 ? std::sqrt(error / size) : std::sqrt(error);
  return relative <= want.most_error ? "" : "relative error " + std::to_string(relative);
}

}  // namespace m2::kernels
