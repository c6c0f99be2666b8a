// Weights that nobody made, for benches.
#include "core/hash.h"
#include "cpu/launchers.h"

namespace m2::cpu {
namespace {

// make(i) for each of `count` elements.
template <class T, class Make>
void fill(Machine& m, T* to, int64_t count, const Make& make) {
  const int64_t parts = std::min<int64_t>(count, m.pool.threads() * 4);
  m.pool.run(parts, count, [&](int64_t part, int) {
    for (int64_t i = count * part / parts; i < count * (part + 1) / parts; i++) to[i] = make(i);
  });
}

}  // namespace

void fill_random(Machine& m, void* data, DType dtype, int64_t count, float scale, uint64_t seed, int64_t first) {
  const auto number = [&](int64_t i) { return random_element(seed, first + i, scale); };
  switch (dtype) {
    case DType::kF32: return fill(m, static_cast<float*>(data), count, number);
    case DType::kBf16: return fill(m, static_cast<bf16*>(data), count, [&](int64_t i) { return to_bf16(number(i)); });
    case DType::kF8E4m3: return fill(m, static_cast<f8*>(data), count, [&](int64_t i) { return to_f8(number(i)); });
    case DType::kU8: return fill(m, static_cast<uint8_t*>(data), count, [&](int64_t i) { return random_codes(seed, first + i); });
    default: fail("DEVICE_ERROR", "internal: random numbers are no ", dtype_name(dtype));
  }
}

void fill_random(Machine& m, Weight& weight, uint64_t seed) {
  RandomRows random(weight);
  View& values = random.rows.values;
  const Buffer memory = allocate(static_cast<size_t>(values.numel()) * dtype_bytes(values.dtype));
  values.data = memory.data();
  for (int64_t expert = 0; expert < weight.experts; expert++) {
    fill_random(m, values.data, values.dtype, values.numel(), random.size, seed, expert * values.numel());
    pack(m, weight, expert, 0, random.rows);
  }
}

}  // namespace m2::cpu
