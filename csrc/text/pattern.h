// The regular expressions of tokenizer.json as a tree: the family of GPT-2, cl100k, o200k and their relatives. Read as @huggingface/tokenizers
// reads them (Oniguruma's syntax): (?i:) folds ASCII letters only, x{m,n}+ repeats the group, possessive marks are taken as greedy.
#pragma once
#include <string_view>
#include <vector>

#include "text/code_set.h"

namespace m2::text {

struct Pattern {
  enum Kind {
    kSet,          // one code point of `set`
    kLook,         // what follows, unread, is one of `set`, or the end of the text where `or_end`
    kSequence,     // all `parts`, in order
    kAlternation,  // the first of `parts` that leads to a match
    kRepeat,       // parts[0], at least `least` and at most `most` times, as often as possible
  };
  static constexpr int kUnbounded = -1;

  Kind kind;
  CodeSet set = {};
  bool or_end = false;
  int least = 0, most = kUnbounded;
  std::vector<Pattern> parts = {};
};

// Throws UNSUPPORTED_MODEL, naming what stands where, for everything outside the family.
Pattern parse_pattern(std::u16string_view source);

}  // namespace m2::text
