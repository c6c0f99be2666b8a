// Text to token ids: added tokens where they are wanted, the text between them cut into pieces, pieces by byte-pair encoding or from the cache.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/piece_cache.h"
#include "text/splitter.h"
#include "text/vocabulary.h"

namespace m2::text {

struct EncoderOptions {
  std::string tokens;                    // one per id, NUL after each; empty where byte-pair encoding has none
  std::string merges;                    // "left right" in order of rank, NUL after each
  std::vector<Vocabulary::Added> added;  // ids within `tokens`
  std::u16string pattern;                // cuts text into pieces
  bool keep_unmatched;                   // what the pattern does not match is a piece too
  bool ignore_merges;                    // a piece that is a token is that token
};

class Encoder {
 public:
  // Throws BAD_CHECKPOINT for merges that do not fit the tokens, UNSUPPORTED_MODEL for a pattern outside the family.
  explicit Encoder(const EncoderOptions& options);

  // The text [begin, end) within which added tokens are recognised, in UTF-16 units.
  struct Range {
    int32_t begin, end;
  };
  // The ids of `text`, or the first most + 1 of them: the rest of a text that is too long is not looked at. `special` is in order and without overlap.
  std::vector<int32_t> encode(std::u16string_view text, std::span<const Range> special, size_t most);

  const Vocabulary& vocabulary() const { return vocabulary_; }
  // The memory of all large tables.
  size_t bytes() const { return words_.kBytes + phrases_.kBytes + bpe_.bytes() + splitter_.bytes(); }

 private:
  // Both append, and may stop once there are more than `most` ids.
  void encode_plain(std::u16string_view text, size_t begin, size_t end, size_t most, std::vector<int32_t>& ids);
  void encode_piece(std::u16string_view piece, size_t most, std::vector<int32_t>& ids);

  Vocabulary vocabulary_;
  AddedTokens added_;
  Splitter splitter_;
  Bpe bpe_;
  PieceCache<64, 1 << 16> words_;     // 4 MiB
  PieceCache<256, 1 << 12> phrases_;  // 1 MiB, for what is too large for the other: long names, runs of spaces, Chinese
  std::string utf8_;  // of the piece at hand
};

}  // namespace m2::text
