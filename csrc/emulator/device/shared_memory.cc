#include "emulator/device/shared_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "emulator/device/sanitizers.h"

namespace m2::emulator {
namespace {

constexpr size_t kDynamicBytes = 256 << 10, kStaticBytes = 64 << 10, kPage = 64 << 10;  // kPage: at least the machine's
constexpr size_t kAlignment = 1024, kGap = 128;
constexpr uint8_t kPoison = 0xff, kUntouched = 0xa7;

constexpr size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

uint8_t* map_between_guards(size_t bytes) {
  void* mapping = mmap(nullptr, bytes + 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  uint8_t* data = static_cast<uint8_t*>(mapping) + kPage;
  mprotect(data, bytes, PROT_READ | PROT_WRITE);
  return data;
}

bool is_untouched(const uint8_t* begin, const uint8_t* end) {
  return std::all_of(begin, end, [](uint8_t byte) { return byte == kUntouched; });
}

}  // namespace

SharedMemory::SharedMemory() {
  if (M2_ASAN) return;
  dynamic_ = map_between_guards(kDynamicBytes);
  static_ = map_between_guards(kStaticBytes);
}

SharedMemory::~SharedMemory() {
  close();
  if (dynamic_) munmap(dynamic_ - kPage, kDynamicBytes + 2 * kPage);
  if (static_) munmap(static_ - kPage, kStaticBytes + 2 * kPage);
}

void SharedMemory::open(size_t bytes) {
  if (bytes == 0) return;
  uint8_t* data;
  if (M2_ASAN) {
    void* memory = nullptr;
    if (posix_memalign(&memory, kAlignment, bytes) != 0) throw std::bad_alloc();
    data = static_cast<uint8_t*>(memory);
  } else {
    data = dynamic_ + kDynamicBytes - round_up(bytes, kAlignment);
    std::memset(data - kGap, kUntouched, kGap);
    std::memset(data + bytes, kUntouched, round_up(bytes, kAlignment) - bytes);
  }
  std::memset(data, kPoison, bytes);
  pieces_.push_back({nullptr, "dynamic shared memory", next_offset_, bytes, data});
  next_offset_ += static_cast<uint32_t>(round_up(bytes, kGap));
}

const SharedMemory::Piece* SharedMemory::add(const void* key, const char* name, size_t bytes, size_t alignment) {
  alignment = std::max<size_t>(alignment, 16);
  uint8_t* data;
  if (M2_ASAN) {
    void* memory = nullptr;
    if (posix_memalign(&memory, alignment, bytes) != 0) return nullptr;
    data = static_cast<uint8_t*>(memory);
  } else {
    const size_t start = round_up(static_used_ + kGap, alignment);
    if (start + bytes + kGap > kStaticBytes) return nullptr;
    data = static_ + start;
    std::memset(static_ + static_used_, kUntouched, start - static_used_);
    std::memset(data + bytes, kUntouched, kGap);
    static_used_ = start + bytes;
  }
  std::memset(data, kPoison, bytes);
  const uint32_t offset = static_cast<uint32_t>(round_up(next_offset_, alignment));
  next_offset_ = offset + static_cast<uint32_t>(round_up(bytes, 16));
  pieces_.push_back({key, name, offset, bytes, data});
  return &pieces_.back();
}

const char* SharedMemory::close() {
  const char* damaged = nullptr;
  for (const Piece& piece : pieces_) {
    if (M2_ASAN) {
      free(piece.data);
      continue;
    }
    const size_t behind = piece.key ? kGap : round_up(piece.bytes, kAlignment) - piece.bytes;
    if (!is_untouched(piece.data - kGap, piece.data) || !is_untouched(piece.data + piece.bytes, piece.data + piece.bytes + behind)) damaged = piece.name;
  }
  pieces_.clear();
  next_offset_ = kSharedBase;
  static_used_ = 0;
  return damaged;
}

const SharedMemory::Piece* SharedMemory::find(const void* key) const {
  const auto found = std::find_if(pieces_.begin(), pieces_.end(), [key](const Piece& piece) { return piece.key == key; });
  return found == pieces_.end() ? nullptr : &*found;
}

const SharedMemory::Piece* SharedMemory::holding(const void* pointer) const {
  const uint8_t* p = static_cast<const uint8_t*>(pointer);
  const auto found = std::find_if(pieces_.begin(), pieces_.end(), [p](const Piece& piece) { return p >= piece.data && p <= piece.data + piece.bytes; });
  return found == pieces_.end() ? nullptr : &*found;
}

size_t SharedMemory::bytes() const {
  size_t sum = 0;
  for (const Piece& piece : pieces_) sum += piece.bytes;
  return sum;
}

}  // namespace m2::emulator
