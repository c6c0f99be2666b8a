// Who wrote last to each byte, and who has read it since. Memory is looked at in lines of 16 bytes, since most of it is read and written so; a line whose
// bytes differ is split into words, a word into bytes.
#pragma once
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

namespace m2::emulator::trace {

constexpr unsigned kLine = 16;

// One access: when (an epoch: what its component did between two counts) and in which code.
struct Record {
  uint32_t epoch = 0;      // 0: none
  uint32_t code : 31 = 0;  // offset in the library of the kernels
  uint32_t atomic : 1 = 0;
};

// What checks an access against an earlier one.
class Judge {
 public:
  virtual ~Judge() = default;
  // Whether the earlier access is ordered before the one at hand.
  virtual bool is_ordered(const Record& earlier, bool earlier_writes) = 0;
  virtual void conflict(const Record& earlier, bool earlier_writes) = 0;
};

struct Access {
  Record record;
  bool writes;
  uint64_t owner;  // readers of one owner (a warp) may stand for each other when there are many
};

class Shadow {
 public:
  Shadow();
  ~Shadow();
  // Bytes offset .. offset + bytes - 1 of the memory that this is about.
  void access(uint64_t offset, size_t bytes, const Access&, Judge&);
  void forget(uint64_t offset, size_t bytes);  // whole pages of it
  void clear();

 private:
  struct Readers;
  struct Cell;
  struct Page;

  void touch(Cell&, unsigned size, unsigned first, unsigned count, const Access&, Judge&);
  void judge_and_note(Cell&, const Access&, Judge&);
  void note_reader(Cell&, const Access&, Judge&);
  void split(Cell&);
  void drop(Cell&);  // its children and readers

  std::vector<std::unique_ptr<Cell[]>> fours_;  // children, four at a time
  std::vector<uint32_t> free_fours_;
  std::vector<Readers> readers_;
  std::vector<uint32_t> free_readers_;
  std::unordered_map<uint64_t, std::unique_ptr<Page>> pages_;
  Page* last_page_ = nullptr;
  uint64_t last_page_number_ = 0;
};

}  // namespace m2::emulator::trace
