#include "text/encoder.h"

#include <algorithm>

#include "text/utf.h"

namespace m2::text {
Encoder::Encoder(const EncoderOptions& options)
    : vocabulary_(options.tokens, options.added),
      added_(options.added),
      splitter_(options.pattern, options.keep_unmatched),
      bpe_(vocabulary_, options.merges, options.ignore_merges) {}

std::vector<int32_t> Encoder::encode(std::u16string_view text, std::span<const Range> special, size_t most) {
  std::vector<int32_t> ids;
  ids.reserve(std::min(text.size() / 3, most));
  size_t plain = 0;  // where the text since the last added token begins: it is cut as one, whatever ranges it spans
  for (const Range& range : special) {
    for (size_t at = static_cast<size_t>(range.begin); at < static_cast<size_t>(range.end) && ids.size() <= most;) {
      const AddedTokens::Found found = added_.find(text.data(), at, static_cast<size_t>(range.end));
      at = found.end;
      if (found.id < 0) continue;
      encode_plain(text, plain, found.begin, most, ids);
      ids.push_back(found.id);
      plain = found.end;
    }
  }
  encode_plain(text, plain, text.size(), most, ids);
  if (ids.size() > most) ids.resize(most + 1);
  return ids;
}

void Encoder::encode_plain(std::u16string_view text, size_t begin, size_t end, size_t most, std::vector<int32_t>& ids) {
  if (ids.size() > most) return;
  splitter_.split(text.data(), begin, end, [&](size_t from, size_t to) {
    encode_piece(text.substr(from, to - from), most, ids);
    return ids.size() <= most;
  });
}

void Encoder::encode_piece(std::u16string_view piece, size_t most, std::vector<int32_t>& ids) {
  const bool is_word = piece.size() <= words_.kMaxUnits, is_phrase = piece.size() <= phrases_.kMaxUnits;
  const uint64_t hash = is_phrase ? hash_of(piece) : 0;
  if ((is_word && words_.find(piece, hash, ids)) || (is_phrase && phrases_.find(piece, hash, ids))) return;

  utf8_.clear();
  append_utf8(utf8_, piece);
  const size_t first = ids.size();
  bpe_.encode(utf8_, most, ids);
  const std::span<const int32_t> found(ids.data() + first, ids.size() - first);
  if (!words_.insert(piece, hash, found)) phrases_.insert(piece, hash, found);
}

}  // namespace m2::text
