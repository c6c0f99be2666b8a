// What cuTensorMapEncodeTiled makes of its arguments: a tensor of up to five dimensions in global memory, cut into boxes. It is kept readable in the 128
// bytes of a CUtensorMap. Dimension 0 is the innermost.
#pragma once
#include <cstddef>
#include <cstdint>

namespace m2::emulator {

enum class TensorElement : uint8_t { kU8, kU16, kU32, kS32, kU64, kS64, kF16, kF32, kF64, kBf16 };
constexpr unsigned element_bytes(TensorElement e) {
  constexpr unsigned kBytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2};
  return kBytes[static_cast<int>(e)];
}

struct TensorMap {
  static constexpr uint64_t kMagic = 0x70616d726f736e74ull;

  uint64_t magic;
  uint8_t* base;
  uint64_t stride[4];       // bytes, of dimensions 1 ..
  uint32_t last[5];         // size - 1
  uint16_t box[5];
  uint8_t rank, swizzle;    // swizzle: 0 none, 1: 32, 2: 64, 3: 128 bytes
  TensorElement element;

  uint64_t size(int dimension) const { return uint64_t{last[dimension]} + 1; }
  unsigned bytes_per_element() const { return element_bytes(element); }
  unsigned row_bytes() const { return box[0] * bytes_per_element(); }
  uint32_t box_bytes() const {
    uint32_t bytes = bytes_per_element();
    for (int i = 0; i < rank; i++) bytes *= box[i];
    return bytes;
  }
};
static_assert(sizeof(TensorMap) <= 128);

// Within a pattern of 8 rows, 16-byte pieces change places: bits 4.. of an address with bits 7.. of it.
constexpr uint32_t swizzled(uint32_t address, unsigned mode) { return mode ? address ^ ((address >> 7 & ((1u << mode) - 1)) << 4) : address; }

}  // namespace m2::emulator
