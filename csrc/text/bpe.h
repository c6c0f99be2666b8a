// Byte-pair encoding of one piece: from single bytes, the neighbours with the merge of lowest rank join first, the leftmost of equals, until no
// neighbours have a merge.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/vocabulary.h"

namespace m2::text {

// Which pair of ids joins at what rank to which id: open addressing.
class MergeTable {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Merge {
    uint32_t rank = kNone;
    int32_t id = -1;
  };

  explicit MergeTable(size_t capacity);
  void insert(int32_t left, int32_t right, Merge merge);
  size_t bytes() const { return slots_.size() * sizeof(Slot); }
  Merge find(int32_t left, int32_t right) const {
    const uint64_t pair = pair_of(left, right);
    for (size_t slot = slot_of(pair);; slot = (slot + 1) & mask_) {
      if (slots_[slot].pair == pair) return slots_[slot].merge;
      if (slots_[slot].merge.rank == kNone) return {};
    }
  }

 private:
  struct Slot {
    uint64_t pair = 0;
    Merge merge;
  };
  static uint64_t pair_of(int32_t left, int32_t right) { return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right); }
  size_t slot_of(uint64_t pair) const { return static_cast<size_t>((pair * 0x9e3779b97f4a7c15) >> shift_); }

  int shift_;
  size_t mask_;
  std::vector<Slot> slots_;
};

class Bpe {
 public:
  // `merges`: in order of rank, each "left right" with NUL after it. With `whole_first` a piece that is a token is not merged (ignore_merges).
  Bpe(const Vocabulary& vocabulary, std::string_view merges, bool whole_first);

  // Appends the ids of a piece of UTF-8; may stop once there are more than `most`. Throws BAD_INPUT for a byte that the vocabulary has no token for.
  void encode(std::string_view piece, size_t most, std::vector<int32_t>& ids) const;

  size_t bytes() const { return merges_.bytes(); }

 private:
  bool are_neighbours(int32_t left, int32_t right) const;
  void merge(std::string_view bytes, std::vector<int32_t>& ids) const;
  void merge_short(std::vector<int32_t>& ids, size_t first) const;
  void merge_long(std::vector<int32_t>& ids, size_t first) const;

  const Vocabulary& vocabulary_;
  bool whole_first_;
  int32_t byte_ids_[256];
  MergeTable merges_;
};

}  // namespace m2::text
