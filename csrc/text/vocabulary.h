// Every token as bytes. tokenizer.json writes a byte-level token with one printable character per byte (GPT-2's table: bytes that print stand for
// themselves, the others follow from U+0100 on); a token written otherwise is its own UTF-8, as in Hugging Face's decoder.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace m2::text {

class Vocabulary {
 public:
  struct Added {
    int32_t id;
    std::u16string content;
  };

  // `tokens`: one per id, NUL after each, empty for the ids that are not byte-pair encoding's.
  Vocabulary(std::string_view tokens, const std::vector<Added>& added);

  int32_t size() const { return static_cast<int32_t>(offsets_.size()) - 1; }
  std::string_view bytes(int32_t id) const { return std::string_view(bytes_).substr(offsets_[id], offsets_[id + 1] - offsets_[id]); }
  const std::string& all_bytes() const { return bytes_; }
  const std::vector<int32_t>& offsets() const { return offsets_; }  // [size + 1] of each token in all_bytes

  // The byte-level token of exactly these bytes, -1 when there is none.
  int32_t find(std::string_view bytes) const { return index_[slot_of(bytes)]; }
  bool is_added(int32_t id) const { return added_[id]; }

 private:
  size_t slot_of(std::string_view bytes) const;

  std::string bytes_;
  std::vector<int32_t> offsets_;
  std::vector<bool> added_;
  std::vector<int32_t> index_;  // hash table of the ids of byte-level tokens, -1 where a slot is empty
};

// The bytes of a byte-level token, appended to `out`; false, and nothing appended, when it has a character that stands for no byte.
bool append_bytes_of(std::string_view token, std::string& out);

}  // namespace m2::text
