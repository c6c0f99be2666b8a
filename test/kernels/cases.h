// Calls of the ops that reach every kernel, each small enough for sanitizers, or at MiniMax-M2's own sizes.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "kernels/arena.h"

namespace m2::kernels {

constexpr double kActivationError = 0x1p-6;  // what activations in bf16 may cost

// What an op gave: numbers to compare, up to a relative error of all of them; ids and counts exactly.
struct Result {
  std::vector<float> numbers;
  std::vector<float> exact;
  double most_error = kActivationError;
};

struct Case {
  std::string op, shape;
  // Bytes that the op cannot do without: each input that it needs read once, each output written once.
  double bytes;
  // Makes the inputs, runs the op (through `run`, so that a caller can look at it alone) and reads what it gave.
  std::function<Result(Arena&, const std::function<void(const std::function<void()>&)>& run)> call;

  std::string name() const { return op + ", " + shape; }
};

std::vector<Case> small_cases();
// What runs while a model loads, small or at MiniMax-M2's sizes.
std::vector<Case> loading_cases(bool m2);
// Ops behind each other, as the model has them.
std::vector<Case> layer_cases();
// Products at the edges of their tiles, and whether all kernels give them the same bits.
std::vector<Case> product_cases();
// What stands between calls.
std::vector<Case> order_cases();
// One layer of MiniMax-M2, decoding and prefilling, cut down in count where the emulator would take minutes.
std::vector<Case> m2_cases();

}  // namespace m2::kernels
