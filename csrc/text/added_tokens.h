// Finds added tokens in text: the longest that begins at the leftmost place, as a tree of UTF-16 units.
#pragma once
#include <bitset>
#include <string_view>
#include <utility>
#include <vector>

#include "text/vocabulary.h"

namespace m2::text {

class AddedTokens {
 public:
  explicit AddedTokens(const std::vector<Vocabulary::Added>& tokens);

  struct Found {
    size_t begin, end;  // begin == the end of the text: none
    int32_t id;
  };
  // The first added token within text[begin, end).
  Found find(const char16_t* text, size_t begin, size_t end) const;

 private:
  struct Node {
    std::vector<std::pair<char16_t, size_t>> next;
    int32_t id = -1;
  };
  size_t child(size_t node, char16_t unit) const;

  std::vector<Node> nodes_;
  std::bitset<256> starts_;  // low bytes of first units: a quick no for nearly all of a text
};

}  // namespace m2::text
