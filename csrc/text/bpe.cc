#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <queue>
#include <string>

#include "core/error.h"

namespace m2::text {
namespace {

constexpr size_t kShortPiece = 64;  // up to here a scan for the lowest rank beats a heap
constexpr size_t kWindow = 1 << 16;  // bytes of a long piece that are merged at once
constexpr size_t kOverlap = 16;      // ids at the end of a window that the next one merges anew

}  // namespace

MergeTable::MergeTable(size_t capacity) {
  const size_t size = std::bit_ceil(capacity * 2 + 2);
  shift_ = 64 - std::countr_zero(size);
  mask_ = size - 1;
  slots_.resize(size);
}

void MergeTable::insert(int32_t left, int32_t right, Merge merge) {
  const uint64_t pair = pair_of(left, right);
  size_t slot = slot_of(pair);
  while (slots_[slot].merge.rank != kNone && slots_[slot].pair != pair) slot = (slot + 1) & mask_;
  slots_[slot] = {pair, merge};
}

Bpe::Bpe(const Vocabulary& vocabulary, std::string_view merges, bool whole_first)
    : vocabulary_(vocabulary), whole_first_(whole_first), merges_(static_cast<size_t>(std::count(merges.begin(), merges.end(), '\0'))) {
  for (int byte = 0; byte < 256; byte++) {
    const char text = static_cast<char>(byte);
    byte_ids_[byte] = vocabulary.find({&text, 1});
  }
  std::string bytes;
  uint32_t rank = 0;
  for (size_t at = 0; at < merges.size(); rank++) {
    const size_t end = merges.find('\0', at);
    expect(end != merges.npos, "the last merge has no end");
    const std::string_view merge = merges.substr(at, end - at);
    at = end + 1;
    const size_t space = merge.find(' ');
    if (space == merge.npos || merge.find(' ', space + 1) != merge.npos) fail("BAD_CHECKPOINT", "model.merges[", rank, "] is \"", merge, "\", expected two tokens with a space between");

    bytes.clear();
    const bool left_is_bytes = append_bytes_of(merge.substr(0, space), bytes);
    const size_t cut = bytes.size();
    const bool right_is_bytes = append_bytes_of(merge.substr(space + 1), bytes);
    const std::string_view whole = bytes;
    const int32_t left = left_is_bytes ? vocabulary.find(whole.substr(0, cut)) : -1;
    const int32_t right = right_is_bytes ? vocabulary.find(whole.substr(cut)) : -1;
    const int32_t id = vocabulary.find(whole);
    if (left < 0 || right < 0 || id < 0) {
      fail("BAD_CHECKPOINT", "model.merges[", rank, "] is \"", merge, "\", but ", left < 0 ? "its left part" : right < 0 ? "its right part" : "what it makes",
           " is not a byte-level token of model.vocab");
    }
    merges_.insert(left, right, {rank, id});
  }
}

// A long piece is merged window by window: that bounds memory, and a piece far too long is left early. Ids are those of their joined bytes exactly when
// each two neighbours are: the first merge across a border would be the first within the two as well. So one look at each seam makes the windows exact, and
// where a seam does not hold, more is merged anew, in the end all of the piece.
void Bpe::encode(std::string_view piece, size_t most, std::vector<int32_t>& ids) const {
  if (whole_first_) {
    if (const int32_t id = vocabulary_.find(piece); id >= 0 && !vocabulary_.is_added(id)) {
      ids.push_back(id);
      return;
    }
  }
  if (piece.size() <= kWindow) return merge(piece, ids);
  const size_t first = ids.size();
  std::vector<int32_t> next;
  for (size_t at = 0, window = kWindow, overlap = kOverlap; at < piece.size() && ids.size() <= most;) {
    const size_t begin = at;
    next.clear();
    merge(piece.substr(begin, window), next);
    if (ids.size() == first || are_neighbours(ids.back(), next.front())) {
      ids.insert(ids.end(), next.begin(), next.end());
      at = std::min(begin + window, piece.size());
      if (at == piece.size()) return;
    }
    for (size_t i = 0; i < overlap && ids.size() > first; i++) {
      at -= vocabulary_.bytes(ids.back()).size();
      ids.pop_back();
    }
    if (at <= begin) window *= 2, overlap *= 2;
  }
}

bool Bpe::are_neighbours(int32_t left, int32_t right) const {
  std::vector<int32_t> ids;
  merge(std::string(vocabulary_.bytes(left)) + std::string(vocabulary_.bytes(right)), ids);
  return ids == std::vector{left, right};
}

void Bpe::merge(std::string_view piece, std::vector<int32_t>& ids) const {
  const size_t first = ids.size();
  for (const char byte : piece) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(byte)];
    if (id < 0) {
      ids.resize(first);
      fail("BAD_INPUT", "the text has the byte ", static_cast<int>(static_cast<uint8_t>(byte)), ", which the tokenizer has no token for");
    }
    ids.push_back(id);
  }
  if (piece.size() <= kShortPiece) merge_short(ids, first);
  else merge_long(ids, first);
}

void Bpe::merge_short(std::vector<int32_t>& ids, size_t first) const {
  MergeTable::Merge merges[kShortPiece];  // [i] of the pair i, i + 1; none after the last id
  int32_t* const id = ids.data() + first;
  size_t n = ids.size() - first;
  for (size_t i = 0; i + 1 < n; i++) merges[i] = merges_.find(id[i], id[i + 1]);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; i++) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (merges[best].rank == MergeTable::kNone) break;
    id[best] = merges[best].id;
    n--;
    for (size_t i = best + 1; i < n; i++) {
      id[i] = id[i + 1];
      merges[i] = merges[i + 1];
    }
    if (best > 0) merges[best - 1] = merges_.find(id[best - 1], id[best]);
    if (best + 1 < n) merges[best] = merges_.find(id[best], id[best + 1]);
  }
  ids.resize(first + n);
}

// The same in n log n: a heap of (rank, position) over a linked list. An entry is stale when the pair at its position has another rank by now.
void Bpe::merge_long(std::vector<int32_t>& ids, size_t first) const {
  struct Symbol {
    int32_t id;
    uint32_t previous, next;  // positions; the one after the last is n, the one before the first too
    MergeTable::Merge merge;  // with the next
  };
  const uint32_t n = static_cast<uint32_t>(ids.size() - first);
  std::vector<Symbol> symbols(n);
  std::vector<uint64_t> entries;
  const auto pair_up = [&](uint32_t at) {
    Symbol& symbol = symbols[at];
    symbol.merge = symbol.next < n ? merges_.find(symbol.id, symbols[symbol.next].id) : MergeTable::Merge{};
    return symbol.merge.rank != MergeTable::kNone;
  };
  const auto entry_of = [&](uint32_t at) { return static_cast<uint64_t>(symbols[at].merge.rank) << 32 | at; };

  for (uint32_t i = 0; i < n; i++) symbols[i] = {ids[first + i], i > 0 ? i - 1 : n, i + 1, {}};
  for (uint32_t i = 0; i < n; i++) {
    if (pair_up(i)) entries.push_back(entry_of(i));
  }
  std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<>> heap({}, std::move(entries));
  while (!heap.empty()) {
    const uint64_t entry = heap.top();
    heap.pop();
    const uint32_t at = static_cast<uint32_t>(entry);
    Symbol& symbol = symbols[at];
    if (symbol.merge.rank != entry >> 32) continue;
    symbol.id = symbol.merge.id;
    symbols[symbol.next].merge = {};
    symbol.next = symbols[symbol.next].next;
    if (symbol.next < n) symbols[symbol.next].previous = at;
    if (pair_up(at)) heap.push(entry_of(at));
    if (symbol.previous < n && pair_up(symbol.previous)) heap.push(entry_of(symbol.previous));
  }
  ids.resize(first);
  for (uint32_t at = 0; at < n; at = symbols[at].next) ids.push_back(symbols[at].id);
}

}  // namespace m2::text
