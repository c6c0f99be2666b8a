#include "text/added_tokens.h"

namespace m2::text {

AddedTokens::AddedTokens(const std::vector<Vocabulary::Added>& tokens) : nodes_(1) {
  for (const Vocabulary::Added& token : tokens) {
    size_t at = 0;
    for (const char16_t unit : token.content) {
      size_t next = child(at, unit);
      if (next == 0) {
        next = nodes_.size();
        nodes_[at].next.push_back({unit, next});
        nodes_.emplace_back();
      }
      at = next;
    }
    nodes_[at].id = token.id;
    if (!token.content.empty()) starts_.set(token.content[0] & 0xff);
  }
}

size_t AddedTokens::child(size_t node, char16_t unit) const {
  for (const auto& [key, next] : nodes_[node].next) {
    if (key == unit) return next;
  }
  return 0;  // the root, which is nobody's child
}

AddedTokens::Found AddedTokens::find(const char16_t* text, size_t begin, size_t end) const {
  for (; begin < end; begin++) {
    if (!starts_[text[begin] & 0xff]) continue;
    Found found{end, end, -1};
    size_t node = 0;
    for (size_t at = begin; at < end && (node = child(node, text[at])) != 0; at++) {
      if (nodes_[node].id >= 0) found = {begin, at + 1, nodes_[node].id};
    }
    if (found.id >= 0) return found;
  }
  return {end, end, -1};
}

}  // namespace m2::text
