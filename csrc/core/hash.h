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

}  // namespace m2
