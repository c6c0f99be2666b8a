// A mixing function of integers, the same on every device (splitmix64, Steele et al., 2014).
#pragma once
#include <cstdint>

#ifdef __CUDACC__
#define M2_ANYWHERE __host__ __device__
#else
#define M2_ANYWHERE
#endif

namespace m2 {

M2_ANYWHERE inline uint64_t mixed(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// In [-scale, scale), by the number of an element.
M2_ANYWHERE inline float random_element(uint64_t seed, int64_t i, float scale) {
  const int64_t bits = static_cast<int64_t>(mixed(mixed(seed) + static_cast<uint64_t>(i)) >> 40);  // 24 bits
  return scale * (static_cast<float>(bits - (int64_t{1} << 23)) * 0x1p-23f);
}

// The same numbers as codes of 4 bits, 8 the middle: 15 of them equally likely. Those of elements 2 i and 2 i + 1 in a byte.
M2_ANYWHERE inline uint8_t random_codes(uint64_t seed, int64_t i) {
  const float low = random_element(seed, 2 * i, 7.5f), high = random_element(seed, 2 * i + 1, 7.5f);
  const auto code = [](float x) { return 8 + static_cast<int>(x < 0 ? x - 0.5f : x + 0.5f); };
  return static_cast<uint8_t>(code(low) | code(high) << 4);
}

}  // namespace m2
