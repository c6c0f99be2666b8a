// Random numbers of the scheduler: cheap, and the same from the same seed.
#pragma once
#include <cstdint>

namespace m2::emulator {

// splitmix64's finaliser: neighbouring numbers become unrelated ones.
constexpr uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ x >> 27) * 0x94d049bb133111ebull;
  return x ^ x >> 31;
}

class Random {
 public:
  explicit Random(uint64_t seed = 0) : state_(mix(seed) | 1) {}
  uint64_t next() {  // xorshift64*
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ * 0x2545f4914f6cdd1dull >> 16;
  }
  uint64_t below(uint64_t n) { return next() % n; }
  bool one_in(uint64_t n) { return below(n) == 0; }

 private:
  uint64_t state_;
};

}  // namespace m2::emulator
