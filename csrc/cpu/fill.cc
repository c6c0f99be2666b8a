// Weights that nobody made, for benches.
#include "core/hash.h"
#include "cpu/launchers.h"

namespace m2::cpu {

void fill_random(Machine& m, void* data, DType dtype, int64_t count, float scale, uint64_t seed) {
  expect(dtype == DType::kF32 || dtype == DType::kBf16, "fill_random fills f32 or bf16, not ", dtype_name(dtype));
  const int64_t parts = std::min<int64_t>(count, m.pool.threads() * 4);
  m.pool.run(parts, count, [&](int64_t part, int) {
    for (int64_t i = count * part / parts; i < count * (part + 1) / parts; i++) {
      const float x = random_element(seed, i, scale);
      if (dtype == DType::kF32) static_cast<float*>(data)[i] = x;
      else static_cast<bf16*>(data)[i] = to_bf16(x);
    }
  });
}

}  // namespace m2::cpu
