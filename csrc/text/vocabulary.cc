#include "text/vocabulary.h"

#include <algorithm>
#include <array>
#include <bit>

#include "core/error.h"
#include "text/utf.h"

namespace m2::text {
namespace {

// Byte of each character of the byte-level alphabet, all of which lie below U+0144; -1 for other characters.
constexpr std::array<int16_t, 0x144> kByteOf = [] {
  std::array<int16_t, 0x144> table{};
  table.fill(-1);
  int shifted = 0x100;
  for (int byte = 0; byte < 256; byte++) {
    const bool prints = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    table[prints ? byte : shifted++] = static_cast<int16_t>(byte);
  }
  return table;
}();

uint64_t hash_of(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : bytes) hash = (hash ^ static_cast<uint8_t>(byte)) * 0x100000001b3;  // FNV-1a
  return hash ^ hash >> 32;
}

}  // namespace

bool append_bytes_of(std::string_view token, std::string& out) {
  const size_t before = out.size();
  for (size_t i = 0; i < token.size(); i++) {
    const uint8_t lead = static_cast<uint8_t>(token[i]);
    size_t code = lead;
    if (lead >= 0xc2 && lead <= 0xc5 && i + 1 < token.size()) code = (lead & 31) << 6 | (token[++i] & 63);
    else if (lead >= 0x80) code = kByteOf.size();
    const int byte = code < kByteOf.size() ? kByteOf[code] : -1;
    if (byte < 0) {
      out.resize(before);
      return false;
    }
    out += static_cast<char>(byte);
  }
  return true;
}

Vocabulary::Vocabulary(std::string_view tokens, const std::vector<Added>& added) {
  const size_t size = static_cast<size_t>(std::count(tokens.begin(), tokens.end(), '\0'));
  std::vector<std::string> contents(size);
  added_.resize(size);
  for (const Added& token : added) {
    expect(token.id >= 0 && static_cast<size_t>(token.id) < size, "added token ", token.id, " is outside the vocabulary");
    contents[token.id] = to_utf8(token.content);
    added_[token.id] = true;
  }

  bytes_.reserve(tokens.size());
  offsets_.reserve(size + 1);
  offsets_.push_back(0);
  std::vector<bool> byte_level(size);
  for (size_t id = 0, at = 0; id < size; id++) {
    const size_t end = tokens.find('\0', at);
    const std::string_view token = tokens.substr(at, end - at);
    at = end + 1;
    const size_t begin = bytes_.size();
    byte_level[id] = append_bytes_of(token, bytes_);
    if (added_[id]) {
      byte_level[id] = byte_level[id] && std::string_view(bytes_).substr(begin) == contents[id];
      bytes_.resize(begin);
      bytes_ += contents[id];
    } else if (!byte_level[id]) {
      bytes_ += token;
    }
    offsets_.push_back(static_cast<int32_t>(bytes_.size()));
  }

  index_.assign(std::bit_ceil(size * 2 + 1), -1);
  for (int32_t id = 0; id < this->size(); id++) {
    if (byte_level[id] && !bytes(id).empty()) index_[slot_of(bytes(id))] = id;
  }
}

size_t Vocabulary::slot_of(std::string_view bytes) const {
  size_t slot = hash_of(bytes) & (index_.size() - 1);
  while (index_[slot] >= 0 && this->bytes(index_[slot]) != bytes) slot = (slot + 1) & (index_.size() - 1);
  return slot;
}

}  // namespace m2::text
