#include "text/splitter.h"

#include <algorithm>
#include <map>

#include "core/error.h"
#include "text/pattern.h"

namespace m2::text {
namespace {

constexpr size_t kMaxNodes = 20000, kMaxStates = 5000, kMaxClasses = 250;

// The pattern as a graph whose paths, tried in order, are the ways to match: Thompson's construction.
struct Node {
  enum Kind { kSet, kLook, kSplit, kMatch } kind;
  size_t set = 0;            // kSet, kLook: index into Graph::sets
  bool or_end = false;       // kLook
  size_t next = 0, other = 0;  // kSplit tries `next` first
};

struct Graph {
  std::vector<Node> nodes;
  std::vector<const CodeSet*> sets;
  size_t start = 0;

  explicit Graph(const Pattern& pattern) {
    const size_t match = add({.kind = Node::kMatch});
    start = build(pattern, match);
  }

 private:
  size_t add(Node node) {
    if (nodes.size() == kMaxNodes) fail("UNSUPPORTED_MODEL", "the split pattern is too large");
    nodes.push_back(node);
    return nodes.size() - 1;
  }

  // The node where `pattern`, followed by `next`, begins.
  size_t build(const Pattern& pattern, size_t next) {
    switch (pattern.kind) {
      case Pattern::kSet:
      case Pattern::kLook:
        sets.push_back(&pattern.set);
        return add({.kind = pattern.kind == Pattern::kSet ? Node::kSet : Node::kLook, .set = sets.size() - 1, .or_end = pattern.or_end, .next = next});
      case Pattern::kSequence:
        for (size_t i = pattern.parts.size(); i-- > 0;) next = build(pattern.parts[i], next);
        return next;
      case Pattern::kAlternation: {
        size_t first = build(pattern.parts.back(), next);
        for (size_t i = pattern.parts.size() - 1; i-- > 0;) first = add({.kind = Node::kSplit, .next = build(pattern.parts[i], next), .other = first});
        return first;
      }
      case Pattern::kRepeat: {
        const Pattern& part = pattern.parts[0];
        if (pattern.most == Pattern::kUnbounded) {
          const size_t loop = add({.kind = Node::kSplit, .other = next});
          const size_t body = build(part, loop);
          nodes[loop].next = body;
          next = loop;
        } else {
          const size_t after = next;
          for (int i = pattern.least; i < pattern.most; i++) next = add({.kind = Node::kSplit, .next = build(part, next), .other = after});
        }
        for (int i = 0; i < pattern.least; i++) next = build(part, next);
        return next;
      }
    }
    return next;
  }
};

// The classes of code points that no set tells apart, and which set has which class. The end of the text is the class after the last.
struct Classes {
  std::vector<uint8_t> of;                   // [0x110000]
  std::vector<std::vector<bool>> signatures;  // [classes][sets]

  explicit Classes(const std::vector<const CodeSet*>& sets) : of(kCodePoints) {
    std::vector<char32_t> bounds = {0, kCodePoints};
    for (const CodeSet* set : sets) {
      for (const CodeRange& range : set->ranges()) {
        bounds.push_back(range.first);
        bounds.push_back(range.last + 1);
      }
    }
    std::sort(bounds.begin(), bounds.end());
    bounds.erase(std::unique(bounds.begin(), bounds.end()), bounds.end());
    std::map<std::vector<bool>, uint8_t> known;
    for (size_t i = 0; i + 1 < bounds.size(); i++) {
      std::vector<bool> signature(sets.size());
      for (size_t s = 0; s < sets.size(); s++) signature[s] = sets[s]->contains(bounds[i]);
      const auto [entry, is_new] = known.try_emplace(signature, static_cast<uint8_t>(signatures.size()));
      if (is_new) signatures.push_back(signature);
      if (signatures.size() > kMaxClasses) fail("UNSUPPORTED_MODEL", "the split pattern has too many character classes");
      std::fill(of.begin() + bounds[i], of.begin() + bounds[i + 1], entry->second);
    }
  }
  size_t end() const { return signatures.size(); }
};

// A state of the automaton: the nodes that the text so far may have led to, in order of preference, before any decision on what follows.
using Threads = std::vector<size_t>;

class Determinizer {
 public:
  Determinizer(const Graph& graph, const Classes& classes) : graph_(graph), classes_(classes), seen_(graph.nodes.size()) {}

  struct Step {
    Threads threads;
    bool matched;  // before the symbol; threads of lower preference than the match are gone
  };
  Step step(const Threads& threads, size_t symbol) {
    std::fill(seen_.begin(), seen_.end(), false);
    step_ = {{}, false};
    for (const size_t node : threads) {
      if (visit(node, symbol)) break;
    }
    return std::move(step_);
  }

 private:
  // Follows `start` up to the nodes that read `symbol`. True when that reached a match.
  bool visit(size_t start, size_t symbol) {
    pending_.assign(1, start);
    while (!pending_.empty()) {
      const size_t at = pending_.back();
      pending_.pop_back();
      if (seen_[at]) continue;
      seen_[at] = true;
      const Node& node = graph_.nodes[at];
      const bool is_end = symbol == classes_.end();
      const bool has = node.kind <= Node::kLook && !is_end && classes_.signatures[symbol][node.set];
      switch (node.kind) {
        case Node::kMatch: return step_.matched = true;
        case Node::kSplit:
          pending_.push_back(node.other);
          pending_.push_back(node.next);
          break;
        case Node::kLook:
          if (has || (is_end && node.or_end)) pending_.push_back(node.next);
          break;
        case Node::kSet:
          if (has && std::find(step_.threads.begin(), step_.threads.end(), node.next) == step_.threads.end()) step_.threads.push_back(node.next);
          break;
      }
    }
    return false;
  }

  const Graph& graph_;
  const Classes& classes_;
  std::vector<bool> seen_;
  std::vector<size_t> pending_;
  Step step_;
};

}  // namespace

Splitter::Splitter(std::u16string_view source, bool keep_unmatched) : keep_unmatched_(keep_unmatched) {
  const Pattern pattern = parse_pattern(source);
  const Graph graph(pattern);
  Classes classes(graph.sets);
  const uint32_t width = static_cast<uint32_t>(classes.end() + 1);
  Determinizer determinizer(graph, classes);

  std::vector<Threads> states = {{}, {graph.start}};  // the dead state is the one without threads
  std::map<Threads, uint32_t> known = {{states[0], 0}, {states[1], 1}};
  for (size_t i = 0; i < states.size(); i++) {
    for (size_t symbol = 0; symbol < width; symbol++) {
      Determinizer::Step step = determinizer.step(states[i], symbol);
      if (i == 1 && step.matched) fail("UNSUPPORTED_MODEL", "the split pattern ", to_utf8(source), " matches the empty text");
      const auto [entry, is_new] = known.try_emplace(step.threads, static_cast<uint32_t>(states.size()));
      if (is_new) states.push_back(std::move(step.threads));
      if (states.size() > kMaxStates) fail("UNSUPPORTED_MODEL", "the split pattern ", to_utf8(source), " needs too many states");
      next_.push_back(entry->second * width << 1 | step.matched);
    }
  }

  start_ = width;
  end_ = static_cast<uint8_t>(classes.end());
  lone_surrogate_ = classes.of[0xd800];
  classes_ = std::move(classes.of);
  std::fill(classes_.begin() + 0xd800, classes_.begin() + 0xe000, kSurrogate);
}

}  // namespace m2::text
