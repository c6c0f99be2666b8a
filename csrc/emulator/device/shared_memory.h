// A block's shared memory: the dynamic part and the static arrays, each a piece of its own with a range of shared addresses. Filled with 0xff (a NaN in
// every float format). A plain build puts the dynamic part in front of a page that faults, and known bytes into what alignment leaves free, looked at
// when the block has ended; with AddressSanitizer each piece is a heap block of its exact size.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace m2::emulator {

// Addresses within a block start here, so that 0 is none; above the low bits an address holds the rank of its block in the cluster.
constexpr uint32_t kSharedBase = 1024, kSharedRank = 1u << 24;

class SharedMemory {
 public:
  struct Piece {
    const void* key;  // nullptr: the dynamic part
    const char* name;
    uint32_t offset;
    size_t bytes;
    uint8_t* data;
  };

  SharedMemory();
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  void open(size_t dynamic_bytes);
  // Frees or forgets everything; the name of a piece whose surroundings were written to, or nullptr.
  const char* close();

  const Piece* find(const void* key) const;
  // nullptr: no room.
  const Piece* add(const void* key, const char* name, size_t bytes, size_t alignment);
  const Piece* holding(const void* pointer) const;
  // Where `bytes` at an offset are, or nullptr where they are in no piece.
  uint8_t* at(uint32_t offset, size_t bytes) const {
    for (const Piece& piece : pieces_) {
      if (offset >= piece.offset && offset + bytes <= piece.offset + piece.bytes) return piece.data + (offset - piece.offset);
    }
    return nullptr;
  }
  const std::vector<Piece>& pieces() const { return pieces_; }
  size_t bytes() const;

 private:
  std::vector<Piece> pieces_;
  uint32_t next_offset_ = kSharedBase;
  uint8_t* dynamic_ = nullptr;  // plain build: the two mappings
  uint8_t* static_ = nullptr;
  size_t static_used_ = 0;
};

}  // namespace m2::emulator
