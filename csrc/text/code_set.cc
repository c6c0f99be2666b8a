#include "text/code_set.h"

#include <algorithm>
#include <iterator>

namespace m2::text {
namespace {

struct CategoryRun {
  char32_t first;
  char name[3];
};
constexpr CategoryRun kCategoryRuns[] = {
#include "text/unicode_categories.inc"
};

}  // namespace

void CodeSet::add(CodeRange range) {
  // What the new range overlaps or touches becomes one with it. Ranges mostly come in order, so the search starts from the end.
  auto after = ranges_.end();
  while (after != ranges_.begin() && std::prev(after)->first > range.last + 1) --after;
  auto first = after;
  while (first != ranges_.begin() && std::prev(first)->last + 1 >= range.first) --first;
  if (first != after) {
    range = {std::min(range.first, first->first), std::max(range.last, std::prev(after)->last)};
    after = ranges_.erase(first, after);
  }
  ranges_.insert(after, range);
}

CodeSet CodeSet::complement() const {
  CodeSet rest;
  char32_t next = 0;
  for (const CodeRange& range : ranges_) {
    if (range.first > next) rest.ranges_.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next < kCodePoints) rest.ranges_.push_back({next, kCodePoints - 1});
  return rest;
}

bool CodeSet::contains(char32_t code) const {
  const auto range = std::upper_bound(ranges_.begin(), ranges_.end(), code, [](char32_t c, const CodeRange& r) { return c < r.first; });
  return range != ranges_.begin() && code <= std::prev(range)->last;
}

CodeSet category_set(std::string_view name) {
  CodeSet set;
  if (name.empty() || name.size() > 2) return set;
  for (size_t i = 0; i < std::size(kCategoryRuns); i++) {
    if (!std::string_view(kCategoryRuns[i].name).starts_with(name)) continue;
    set.add({kCategoryRuns[i].first, (i + 1 < std::size(kCategoryRuns) ? kCategoryRuns[i + 1].first : kCodePoints) - 1});
  }
  return set;
}

CodeSet white_space_set() {
  return {{0x9, 0xd}, {0x20, 0x20}, {0x85, 0x85}, {0xa0, 0xa0}, {0x1680, 0x1680}, {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}};
}

}  // namespace m2::text
