// What pieces have been encoded to, since text is made of few different ones: open addressing over slots of kSlotBytes, each with a piece and its ids.
// A piece is looked for in a short window of slots, and when all of them are taken one is overwritten: memory is bounded, and no text makes look-ups
// slow.
#pragma once
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace m2::text {

inline uint64_t word_at(const void* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

// Four units at a time; the last four overlap those before. Of 1 unit or more.
inline uint64_t hash_of(std::u16string_view piece) {
  const auto mixed = [](uint64_t x) {
    x *= 0x9e3779b97f4a7c15;
    return x ^ x >> 32;
  };
  const char16_t* const units = piece.data();
  const size_t n = piece.size();
  if (n < 4) return mixed(units[0] | static_cast<uint64_t>(units[n / 2]) << 16 | static_cast<uint64_t>(units[n - 1]) << 32 | static_cast<uint64_t>(n) << 48);
  uint64_t hash = n;
  for (size_t i = 0; i + 4 < n; i += 4) hash = mixed(hash ^ word_at(units + i));
  return mixed(hash ^ word_at(units + n - 4));
}

template <size_t kSlotBytes, size_t kSlots>
class PieceCache {
 public:
  static constexpr size_t kBytes = kSlotBytes * kSlots;
  static constexpr size_t kMaxUnits = (kSlotBytes - 2 - sizeof(int32_t)) / 2;

  PieceCache() : slots_(kSlots) {}

  // Appends the ids of `piece`, of 1 unit or more; false when they are not known.
  bool find(std::u16string_view piece, uint64_t hash, std::vector<int32_t>& ids) const {
    for (size_t i = 0; i < kWindow; i++) {
      const Slot& slot = slots_[(hash + i) % kSlots];
      if (slot.units == piece.size() && equal(slot.data, piece)) {
        ids.resize(ids.size() + slot.count);
        std::memcpy(&ids[ids.size() - slot.count], slot.data + 2 * slot.units, slot.count * sizeof ids[0]);
        return true;
      }
      if (slot.units == 0) break;
    }
    return false;
  }

  // For a piece that find does not find. False when it is too large for a slot together with its ids.
  bool insert(std::u16string_view piece, uint64_t hash, std::span<const int32_t> ids) {
    if (piece.size() * 2 + ids.size_bytes() > sizeof(Slot::data)) return false;
    size_t i = 0;
    while (i < kWindow && slots_[(hash + i) % kSlots].units != 0) i++;
    Slot& slot = slots_[(hash + (i < kWindow ? i : hash >> 32 & (kWindow - 1))) % kSlots];
    slot.units = static_cast<uint8_t>(piece.size());
    slot.count = static_cast<uint8_t>(ids.size());
    std::memcpy(slot.data, piece.data(), piece.size() * 2);
    std::memcpy(slot.data + piece.size() * 2, ids.data(), ids.size_bytes());
    return true;
  }

 private:
  static constexpr size_t kWindow = 8;

  struct alignas(64) Slot {
    uint8_t units = 0, count = 0;  // units 0: empty
    char data[kSlotBytes - 2];     // the piece, then its ids
  };
  static_assert(sizeof(Slot) == kSlotBytes && kMaxUnits < 256);

  static bool equal(const char* data, std::u16string_view piece) {
    const size_t n = piece.size();
    if (n < 4) return std::memcmp(data, piece.data(), 2) == 0 && std::memcmp(data + n / 2 * 2, &piece[n / 2], 2) == 0 && std::memcmp(data + (n - 1) * 2, &piece[n - 1], 2) == 0;
    for (size_t i = 0; i + 4 < n; i += 4) {
      if (word_at(data + i * 2) != word_at(&piece[i])) return false;
    }
    return word_at(data + (n - 4) * 2) == word_at(&piece[n - 4]);
  }

  std::vector<Slot> slots_;
};

}  // namespace m2::text
