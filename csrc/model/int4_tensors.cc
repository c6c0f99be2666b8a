#include "model/int4_tensors.h"

#include <algorithm>
#include <cstring>

namespace m2 {
namespace {

// Which row of eight each nibble of a word is, from the lowest.
constexpr int kAwqOrder[8] = {0, 2, 4, 6, 1, 3, 5, 7};
constexpr int kPlainOrder[8] = {0, 1, 2, 3, 4, 5, 6, 7};

// Byte j of word i <-> byte i of word j.
void transpose_bytes(uint64_t (&w)[8]) {
  const auto exchange = [&](int distance, int bits, uint64_t mask) {
    for (int i = 0; i < 8; i++) {
      if (i & distance) continue;
      const uint64_t differ = ((w[i] >> bits) ^ w[i + distance]) & mask;
      w[i] ^= differ << bits;
      w[i + distance] ^= differ;
    }
  };
  exchange(1, 8, 0x00ff00ff00ff00ff);
  exchange(2, 16, 0x0000ffff0000ffff);
  exchange(4, 32, 0x00000000ffffffff);
}

// What is small is unpacked one by one: words of eight rows -> zeros [rows][groups].
void unpack_zeros(const uint32_t* words, int64_t word_stride, int64_t group_stride, int64_t groups, int64_t count, const int (&order)[8], int stored_less, uint8_t* zeros) {
  for (int64_t first = 0; first < count; first += 8) {
    for (int64_t g = 0; g < groups; g++) {
      const uint32_t word = words[first / 8 * word_stride + g * group_stride];
      for (int i = 0; i < 8; i++) {
        const int64_t row = first + order[i];
        if (row < count) zeros[row * groups + g] = static_cast<uint8_t>((word >> (4 * i) & 15) + static_cast<uint32_t>(stored_less));
      }
    }
  }
}

bf16 rounded(bf16 x) { return x; }
bf16 rounded(f16 x) { return to_bf16(to_f32(x)); }
bf16 rounded(float x) { return to_bf16(x); }

template <class Body>
void with_type(const void* data, DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kBf16: return body(static_cast<const bf16*>(data));
    case DType::kF16: return body(static_cast<const f16*>(data));
    default: return body(static_cast<const float*>(data));
  }
}

}  // namespace

// Eight rows of 16 columns at a time: the nibbles of two columns meet in a byte of each row, and the bytes of eight such pairs are transposed. 64 bytes of
// each row are filled one after the other, from words that share their cache lines.
void awq_codes(const uint32_t* words, int64_t n, int64_t k, RowRange rows, uint8_t* codes) {
  constexpr int64_t kColumns = 128, kWords = 16;  // of a block
  constexpr uint64_t kLow = 0x0f0f0f0f;
  const int64_t width = n / 8, first_word = rows.first / 8, last_word = first_word + rows.count / 8, row_bytes = k / 2;
  for (int64_t column = 0; column < k; column += kColumns) {
    const int64_t end = std::min(k, column + kColumns);
    for (int64_t block = first_word; block < last_word; block += kWords) {
      for (int64_t word = block; word < std::min(last_word, block + kWords); word++) {
        uint8_t* const out = codes + (word - first_word) * 8 * row_bytes;
        for (int64_t c = column; c < end; c += 16) {
          uint64_t pairs[8];  // byte i: of the rows' nibbles 0 2 4 6 1 3 5 7
          for (int i = 0; i < 8; i++) {
            const uint64_t even = words[(c + 2 * i) * width + word], odd = words[(c + 2 * i + 1) * width + word];
            pairs[i] = (even & kLow) | (odd & kLow) << 4 | ((even >> 4 & kLow) | (odd & kLow << 4)) << 32;
          }
          transpose_bytes(pairs);
          for (int i = 0; i < 8; i++) {
            const int nibble = i < 4 ? 2 * i : 2 * i - 7;
            std::memcpy(out + kAwqOrder[nibble] * row_bytes + c / 2, &pairs[i], 8);
          }
        }
      }
    }
  }
}

// Words are four bytes of a row: a transpose, in blocks that stay in the first-level cache.
void gptq_codes(const uint32_t* words, int64_t n, int64_t k, RowRange rows, uint8_t* codes) {
  constexpr int64_t kBlock = 16;
  const int64_t depth = k / 8;
  for (int64_t block = 0; block < rows.count; block += kBlock) {
    const int64_t last = std::min(rows.count, block + kBlock);
    for (int64_t first = 0; first < depth; first += kBlock) {
      for (int64_t row = block; row < last; row++) {
        uint32_t line[kBlock];
        const int64_t count = std::min(kBlock, depth - first);
        for (int64_t i = 0; i < count; i++) line[i] = words[(first + i) * n + rows.first + row];
        std::memcpy(codes + (row * depth + first) * 4, line, static_cast<size_t>(count) * 4);
      }
    }
  }
}

void awq_zeros(const uint32_t* words, int64_t n, int64_t groups, RowRange rows, uint8_t* zeros) {
  unpack_zeros(words + rows.first / 8, 1, n / 8, groups, rows.count, kAwqOrder, 0, zeros);
}

void gptq_zeros(const uint32_t* words, int64_t n, int64_t groups, int stored_less, RowRange rows, uint8_t* zeros) {
  unpack_zeros(words + rows.first / 8, 1, n / 8, groups, rows.count, kPlainOrder, stored_less, zeros);
}

void packed_zeros(const uint32_t* words, int64_t groups, int64_t count, uint8_t* zeros) {
  unpack_zeros(words, groups, 1, groups, count, kPlainOrder, 0, zeros);
}

void transposed_scales(const void* scales, DType dtype, int64_t n, int64_t groups, RowRange rows, bf16* to) {
  with_type(scales, dtype, [&](const auto* from) {
    for (int64_t row = 0; row < rows.count; row++) {
      for (int64_t g = 0; g < groups; g++) to[row * groups + g] = rounded(from[g * n + rows.first + row]);
    }
  });
}

void rounded_scales(const void* scales, DType dtype, int64_t count, bf16* to) {
  with_type(scales, dtype, [&](const auto* from) {
    for (int64_t i = 0; i < count; i++) to[i] = rounded(from[i]);
  });
}

}  // namespace m2
