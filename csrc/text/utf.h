// Code points in and out of the two encodings at hand: UTF-16 is how JavaScript text arrives, UTF-8 is what tokens are made of.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace m2::text {

constexpr char32_t kCodePoints = 0x110000;

inline bool is_surrogate(char32_t unit) { return (unit & 0xfffff800) == 0xd800; }

// The code point at `at` < `end`, 1 or 2 units wide; a surrogate without its partner stands for itself.
struct CodePoint {
  char32_t value;
  size_t units;
};
inline CodePoint code_point_at(const char16_t* text, size_t at, size_t end) {
  const char32_t unit = text[at];
  if ((unit & 0xfc00) == 0xd800 && at + 1 < end && (text[at + 1] & 0xfc00) == 0xdc00) return {0x10000 + ((unit & 0x3ff) << 10) + (text[at + 1] & 0x3ff), 2};
  return {unit, 1};
}

inline void append_utf8(std::string& out, char32_t code) {
  if (is_surrogate(code)) code = 0xfffd;  // as TextEncoder does
  if (code < 0x80) {
    out += static_cast<char>(code);
    return;
  }
  if (code < 0x800) {
    out += static_cast<char>(0xc0 | code >> 6);
  } else {
    if (code < 0x10000) {
      out += static_cast<char>(0xe0 | code >> 12);
    } else {
      out += static_cast<char>(0xf0 | code >> 18);
      out += static_cast<char>(0x80 | (code >> 12 & 63));
    }
    out += static_cast<char>(0x80 | (code >> 6 & 63));
  }
  out += static_cast<char>(0x80 | (code & 63));
}

inline void append_utf8(std::string& out, std::u16string_view text) {
  for (size_t at = 0; at < text.size();) {
    const CodePoint code = code_point_at(text.data(), at, text.size());
    append_utf8(out, code.value);
    at += code.units;
  }
}

inline std::string to_utf8(std::u16string_view text) {
  std::string out;
  append_utf8(out, text);
  return out;
}

}  // namespace m2::text
