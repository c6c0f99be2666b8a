// Rows of a host tensor into a panel: rows [16][k] -> panel [k / 2][16 rows][2], rounded to bf16. A pair of k of one row is one 32-bit word, so this is a
// transpose of words, 16 at a time.
#pragma once
#include "cpu/kernels.h"
#include "cpu/simd/inline.h"

namespace m2::cpu {

// 32 values of a row as 16 words of bf16 pairs
template <class S>
M2_INLINE typename S::I pack_words(const bf16* p) {
  return S::load_words(p);
}
template <class S, class T>
M2_INLINE typename S::I pack_words(const T* p) {
  bf16 rounded[32];
  S::store(rounded, S::load(p));
  S::store(rounded + 16, S::load(p + 16));
  return S::load_words(rounded);
}

template <class S, class T>
void pack_rows(const PackTask& task) {
  const T* rows = static_cast<const T*>(task.rows);
  for (int64_t i = 0; i < task.k; i += 32) {
    bf16* out = static_cast<bf16*>(task.panel) + i * kPanel;
    if (task.count == kPanel) {
      typename S::I words[16];
      for (int r = 0; r < 16; r++) words[r] = pack_words<S>(rows + r * task.k + i);
      S::transpose(words);
      for (int j = 0; j < 16; j++) S::store_words(out + j * 2 * kPanel, words[j]);
    } else {
      for (int r = 0; r < task.count; r++) {
        uint32_t words[16];
        S::store_words(words, pack_words<S>(rows + r * task.k + i));
        for (int j = 0; j < 16; j++) __builtin_memcpy(out + 2 * (j * kPanel + task.first_lane + r), &words[j], 4);
      }
    }
  }
}

// The same with f8, whose pairs are half words: a word has two pairs of its row.
template <class S>
void pack_f8(const PackTask& task) {
  const f8* rows = static_cast<const f8*>(task.rows);
  f8* panel = static_cast<f8*>(task.panel);
  int64_t i = 0;
  for (; task.count == kPanel && i + 64 <= task.k; i += 64) {
    typename S::I words[16];
    for (int r = 0; r < 16; r++) words[r] = S::load_words(rows + r * task.k + i);
    S::transpose(words);
    for (int j = 0; j < 16; j++) {
      uint32_t word[16];
      uint16_t pairs[2][16];
      S::store_words(word, words[j]);
      for (int r = 0; r < 16; r++) pairs[0][r] = static_cast<uint16_t>(word[r]), pairs[1][r] = static_cast<uint16_t>(word[r] >> 16);
      __builtin_memcpy(panel + (i + 4 * j) * kPanel, pairs, sizeof pairs);
    }
  }
  for (; i < task.k; i += 2) {
    for (int r = 0; r < task.count; r++) __builtin_memcpy(panel + i * kPanel + 2 * (task.first_lane + r), rows + r * task.k + i, 2);
  }
}

// Codes: a byte of a row has a pair. Rows that are not there are codes of 0.
template <class S>
void pack_codes(const PackTask& task) {
  const uint8_t* rows = static_cast<const uint8_t*>(task.rows);
  uint8_t* out = static_cast<uint8_t*>(task.panel);
  const int64_t pairs = task.k / 2;
  constexpr int64_t kBlock = 64, kHalf = kPanel / 2;
  for (int64_t first = 0; first < pairs; first += kBlock) {
    const int64_t count = pairs - first < kBlock ? pairs - first : kBlock;
    uint8_t bytes[kPanel][kBlock] = {};
    for (int r = 0; r < task.count; r++) __builtin_memcpy(bytes[r], rows + r * pairs + first, static_cast<size_t>(count));
    for (int64_t i = 0; i < count; i++) {
      uint8_t* to = out + (first + i) / 4 * 4 * kPanel + (first + i) % 4;
      for (int64_t r = 0; r < kHalf; r++) {
        const uint8_t low = bytes[r][i], high = bytes[r + kHalf][i];
        to[8 * r] = static_cast<uint8_t>((low & 15) | high << 4);
        to[8 * r + 4] = static_cast<uint8_t>(low >> 4 | (high & 0xf0));
      }
    }
  }
}

template <class S>
void pack(const PackTask& task) {
  switch (task.dtype) {
    case DType::kU8: return pack_codes<S>(task);
    case DType::kF8E4m3: return pack_f8<S>(task);
    case DType::kF32: return pack_rows<S, float>(task);
    case DType::kF16: return pack_rows<S, f16>(task);
    default: return pack_rows<S, bf16>(task);
  }
}

}  // namespace m2::cpu
