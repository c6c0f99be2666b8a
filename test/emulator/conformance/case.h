// What every file of cases starts from.
#pragma once
#include <cstring>
#include <numeric>

#include "../device.h"
#include "vectors.h"

namespace m2::test {

namespace ptx = cuda::ptx;

// first, first + 1, ..
inline std::vector<uint32_t> counting(size_t count, uint32_t first = 0) {
  std::vector<uint32_t> values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

// Words whose every byte tells where it is from.
inline std::vector<uint32_t> scattered(size_t count) {
  std::vector<uint32_t> values(count);
  for (size_t i = 0; i < count; i++) values[i] = static_cast<uint32_t>(i + 1) * 2654435761u;
  return values;
}

}  // namespace m2::test
