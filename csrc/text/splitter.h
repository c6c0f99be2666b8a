// Cuts text into the pieces that byte-pair encoding works on, by a regular expression with JavaScript's leftmost-first semantics, in one table
// lookup per character. The pattern becomes a deterministic automaton over classes of code points that the pattern does not tell apart:
//   next_[state + class] = (next state << 1) | whether the text before this character is a match, states being row offsets into the table.
// A match is noticed one character late, which is what makes lookahead of one character (and the end of the text, a class of its own) free.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/utf.h"

namespace m2::text {

class Splitter {
 public:
  // What no match covers becomes a piece of its own, or is dropped.
  Splitter(std::u16string_view pattern, bool keep_unmatched);

  size_t bytes() const { return classes_.size(); }

  // Calls piece(from, to) for each piece of text[begin, end), in order, until it returns false. Positions are UTF-16 units.
  template <class Piece>
  void split(const char16_t* text, size_t begin, size_t end, Piece&& piece) const {
    size_t unmatched = begin;
    for (size_t at = begin; at < end;) {
      const size_t stop = match(text, at, end);
      if (stop == at) {
        at += code_point_at(text, at, end).units;
        continue;
      }
      if (unmatched < at && keep_unmatched_ && !piece(unmatched, at)) return;
      if (!piece(at, stop)) return;
      unmatched = at = stop;
    }
    if (unmatched < end && keep_unmatched_) piece(unmatched, end);
  }

 private:
  static constexpr uint8_t kSurrogate = 255;  // in place of a class: look at the pair
  static constexpr uint32_t kDead = 0;

  // Where the match that begins at `begin` ends; `begin` when there is none.
  size_t match(const char16_t* text, size_t begin, size_t end) const {
    uint32_t state = start_;
    size_t last = begin, at = begin;
    while (at < end) {
      uint8_t symbol = classes_[text[at]];
      size_t units = 1;
      if (symbol == kSurrogate) [[unlikely]] {
        const CodePoint code = code_point_at(text, at, end);
        symbol = code.units == 2 ? classes_[code.value] : lone_surrogate_;
        units = code.units;
      }
      const uint32_t entry = next_[state + symbol];
      if (entry & 1) last = at;
      state = entry >> 1;
      if (state == kDead) return last;
      at += units;
    }
    return next_[state + end_] & 1 ? end : last;
  }

  std::vector<uint8_t> classes_;  // [0x110000] class of each code point
  std::vector<uint32_t> next_;    // [states, classes + 1]
  uint32_t start_ = 0;            // row offsets, as all states
  uint8_t lone_surrogate_ = 0, end_ = 0;
  bool keep_unmatched_;
};

}  // namespace m2::text
