#include "text/pattern.h"

#include <optional>

#include "core/error.h"

namespace m2::text {
namespace {

constexpr int kMaxRepeat = 1000, kMaxDepth = 50;

class Parser {
 public:
  explicit Parser(std::u16string_view source) : source_(source) {
    for (size_t at = 0; at < source.size();) {
      const CodePoint code = code_point_at(source.data(), at, source.size());
      text_ += code.value;
      at += code.units;
    }
  }

  Pattern parse() {
    Pattern pattern = alternation(0);
    if (at_ < text_.size()) unsupported("an unmatched )");
    return pattern;
  }

 private:
  [[noreturn]] void unsupported(const char* what) const {
    fail("UNSUPPORTED_MODEL", "the split pattern ", to_utf8(source_), " has ", what, " at character ", at_ + 1, ", which is not supported");
  }

  bool at(std::u32string_view expected) const { return std::u32string_view(text_).substr(at_).starts_with(expected); }
  bool take(std::u32string_view expected) {
    if (!at(expected)) return false;
    at_ += expected.size();
    return true;
  }
  char32_t next() {
    if (at_ == text_.size()) unsupported("its end too early");
    return text_[at_++];
  }

  Pattern alternation(int depth) {
    if (depth > kMaxDepth) unsupported("groups nested too deep");
    Pattern pattern{.kind = Pattern::kAlternation};
    do pattern.parts.push_back(sequence(depth));
    while (take(U"|"));
    return pattern;
  }

  Pattern sequence(int depth) {
    Pattern pattern{.kind = Pattern::kSequence};
    while (at_ < text_.size() && !at(U"|") && !at(U")")) pattern.parts.push_back(quantified(depth));
    return pattern;
  }

  Pattern quantified(int depth) {
    Pattern item = atom(depth);
    const auto repeat = [&](int least, int most) {
      if (item.kind == Pattern::kLook || item.kind == Pattern::kRepeat) unsupported("a quantifier after a lookahead or a quantifier");
      Pattern inner = std::move(item);
      item = {.kind = Pattern::kRepeat, .least = least, .most = most, .parts = {std::move(inner)}};
    };
    if (at(U"{")) {
      const std::optional<std::pair<int, int>> bounds = braces();
      if (!bounds) unsupported("a brace that is not a quantifier");
      repeat(bounds->first, bounds->second);
      if (at(U"+") || at(U"*")) item = {.kind = Pattern::kSequence, .parts = {std::move(item)}};
    }
    const bool star = take(U"*"), plus = !star && take(U"+"), question = !star && !plus && take(U"?");
    if (star || plus || question) {
      repeat(plus ? 1 : 0, question ? 1 : Pattern::kUnbounded);
      take(U"+");
    }
    if (at(U"*") || at(U"+") || at(U"?") || at(U"{")) unsupported("a second quantifier");
    return item;
  }

  // {m}, {m,}, {m,n} or {,n}, taken when it is one.
  std::optional<std::pair<int, int>> braces() {
    const size_t start = at_++;
    const std::optional<int> least = number();
    const bool comma = take(U",");
    const std::optional<int> most = comma ? number() : least;
    if (!take(U"}") || (!least && !most)) {
      at_ = start;
      return std::nullopt;
    }
    if (least.value_or(0) > kMaxRepeat || most.value_or(0) > kMaxRepeat || (most && *most < least.value_or(0))) unsupported("a repeat count out of range");
    return std::pair{least.value_or(0), most.value_or(Pattern::kUnbounded)};
  }

  std::optional<int> number() {
    std::optional<int> value;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') value = std::min(value.value_or(0) * 10 + static_cast<int>(text_[at_++] - '0'), kMaxRepeat + 1);
    return value;
  }

  Pattern atom(int depth) {
    if (at(U"(")) return group(depth);
    if (at(U"[")) return {.kind = Pattern::kSet, .set = char_class()};
    if (at(U"\\")) return {.kind = Pattern::kSet, .set = escape()};
    if (take(U"$")) return {.kind = Pattern::kLook, .set = {{'\n', '\n'}}, .or_end = true};
    constexpr std::u32string_view kReserved = U"^.*+?{}]";
    if (kReserved.find(text_[at_]) != kReserved.npos) unsupported("one of ^ . * + ? { } ]");
    const char32_t literal = next();
    return {.kind = Pattern::kSet, .set = folded({{literal, literal}})};
  }

  Pattern group(int depth) {
    const bool outer_fold = fold_;
    const bool positive = take(U"(?="), negative = !positive && take(U"(?!");
    if (take(U"(?i:")) fold_ = true;
    else if (!positive && !negative && !take(U"(?:") && (at(U"(?") || !take(U"("))) unsupported("a group other than (...), (?:...), (?i:...), (?=...) and (?!...)");
    Pattern inner = alternation(depth + 1);
    if (!take(U")")) unsupported("a group without its end");
    fold_ = outer_fold;
    if (!positive && !negative) return inner;
    // One character of lookahead is all that the matcher carries.
    if (inner.parts.size() != 1 || inner.parts[0].parts.size() != 1 || inner.parts[0].parts[0].kind != Pattern::kSet) unsupported("a lookahead over anything but one character, ending");
    CodeSet set = std::move(inner.parts[0].parts[0].set);
    return {.kind = Pattern::kLook, .set = negative ? set.complement() : set, .or_end = negative};
  }

  CodeSet char_class() {
    take(U"[");
    const bool negated = take(U"^");
    CodeSet set;
    do {
      if (at(U"[") || at(U"&&")) unsupported("a class within a class");
      if (at(U"\\") && !at_is_literal_escape()) {
        set.add(escape());
        continue;
      }
      const char32_t first = class_literal();
      const bool range = at(U"-") && !at(U"-]");
      if (range) take(U"-");
      const char32_t last = range ? class_literal() : first;
      if (last < first) unsupported("a range out of order");
      set.add({first, last});
    } while (!at(U"]"));
    take(U"]");
    set = folded(std::move(set));
    return negated ? set.complement() : set;
  }

  char32_t class_literal() {
    if (!take(U"\\")) return next();
    at_--;
    if (!at_is_literal_escape()) unsupported("a range that ends in a set");
    return escape().ranges()[0].first;
  }

  // Whether the escape here stands for one character.
  bool at_is_literal_escape() const {
    constexpr std::u32string_view kSets = U"pPsSdD";
    return at_ + 1 < text_.size() && kSets.find(text_[at_ + 1]) == kSets.npos;
  }

  CodeSet escape() {
    take(U"\\");
    const char32_t name = next();
    switch (name) {
      case 'p':
      case 'P': return property(name == 'P');
      case 's': return white_space_set();
      case 'S': return white_space_set().complement();
      case 'd': return category_set("Nd");
      case 'D': return category_set("Nd").complement();
      case 'r': return {{'\r', '\r'}};
      case 'n': return {{'\n', '\n'}};
      case 't': return {{'\t', '\t'}};
      case 'f': return {{'\f', '\f'}};
      case 'v': return {{'\v', '\v'}};
      default: break;
    }
    if (name >= 0x80 || (name >= '0' && name <= '9') || (name >= 'a' && name <= 'z') || (name >= 'A' && name <= 'Z')) {
      at_ -= 2;
      unsupported("an escape other than \\p \\P \\s \\S \\d \\D \\r \\n \\t \\f \\v and escaped punctuation");
    }
    return {{name, name}};
  }

  CodeSet property(bool negated) {
    std::string name;
    if (!take(U"{")) unsupported("a \\p without {");
    while (!take(U"}")) append_utf8(name, next());
    CodeSet set = category_set(name);
    if (set.empty()) unsupported("a \\p{...} that is not a general category, ending");
    return negated ? set.complement() : set;
  }

  CodeSet folded(CodeSet set) const {
    if (!fold_) return set;
    for (char32_t lower = 'a'; lower <= 'z'; lower++) {
      const char32_t upper = lower - 'a' + 'A';
      if (set.contains(lower) || set.contains(upper)) set.add({{lower, lower}, {upper, upper}});
    }
    return set;
  }

  std::u16string_view source_;
  std::u32string text_;
  size_t at_ = 0;
  bool fold_ = false;
};

}  // namespace

Pattern parse_pattern(std::u16string_view source) { return Parser(source).parse(); }

}  // namespace m2::text
