// A set of code points as sorted ranges that do not touch, and the named sets of regular expressions.
#pragma once
#include <string_view>
#include <vector>

#include "text/utf.h"

namespace m2::text {

struct CodeRange {
  char32_t first, last;  // both included
};

class CodeSet {
 public:
  CodeSet() = default;
  CodeSet(std::initializer_list<CodeRange> ranges) {
    for (const CodeRange& range : ranges) add(range);
  }

  void add(CodeRange range);
  void add(const CodeSet& other) {
    for (const CodeRange& range : other.ranges_) add(range);
  }
  CodeSet complement() const;
  bool contains(char32_t code) const;
  bool empty() const { return ranges_.empty(); }
  const std::vector<CodeRange>& ranges() const { return ranges_; }

 private:
  std::vector<CodeRange> ranges_;
};

// \p{name}: a general category ("Lu") or a group of them ("L"); empty when there is none of that name.
CodeSet category_set(std::string_view name);
// \s: the Unicode property White_Space, which is not JavaScript's \s (that has U+FEFF and lacks U+0085).
CodeSet white_space_set();

}  // namespace m2::text
