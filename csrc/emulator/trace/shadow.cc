// After the vector clock races of FastTrack (Flanagan and Freund, 2009): a write needs only the last write before it, since that is ordered after all
// earlier ones or a race was reported; of reads one is kept where they are ordered, and else up to kMostReaders of them.
#include "emulator/trace/shadow.h"

#include <algorithm>

namespace m2::emulator::trace {
namespace {

constexpr size_t kPageLines = 1024, kMostReaders = 32;
constexpr uint32_t kNone = ~uint32_t{0};

}  // namespace

struct Shadow::Readers {
  struct Reader {
    Record record;
    uint64_t owner;
  };
  std::vector<Reader> all;
  size_t last = 0;
};

struct Shadow::Cell {
  Record write, read;
  uint32_t children = kNone, readers = kNone;  // readers: in place of `read`
};

struct Shadow::Page {
  Cell lines[kPageLines];
};

Shadow::Shadow() = default;
Shadow::~Shadow() = default;

void Shadow::clear() {
  pages_.clear();
  fours_.clear();
  free_fours_.clear();
  readers_.clear();
  free_readers_.clear();
  last_page_ = nullptr;
}

void Shadow::forget(uint64_t offset, size_t bytes) {
  constexpr uint64_t kPageBytes = uint64_t{kPageLines} * kLine;
  for (uint64_t page = (offset + kPageBytes - 1) / kPageBytes; (page + 1) * kPageBytes <= offset + bytes; page++) {
    const auto found = pages_.find(page);
    if (found == pages_.end()) continue;
    for (Cell& line : found->second->lines) drop(line);
    pages_.erase(found);
  }
  last_page_ = nullptr;
}

void Shadow::access(uint64_t offset, size_t bytes, const Access& access, Judge& judge) {
  while (bytes > 0) {
    const uint64_t line = offset / kLine, number = line / kPageLines;
    if (!last_page_ || number != last_page_number_) {
      std::unique_ptr<Page>& page = pages_[number];
      if (!page) page = std::make_unique<Page>();
      last_page_ = page.get();
      last_page_number_ = number;
    }
    const unsigned first = static_cast<unsigned>(offset % kLine), count = static_cast<unsigned>(std::min<size_t>(bytes, kLine - first));
    touch(last_page_->lines[line % kPageLines], kLine, first, count, access, judge);
    offset += count;
    bytes -= count;
  }
}

void Shadow::touch(Cell& cell, unsigned size, unsigned first, unsigned count, const Access& access, Judge& judge) {
  if (count == size && cell.children == kNone) return judge_and_note(cell, access, judge);
  if (cell.children == kNone) split(cell);
  const uint32_t children = cell.children;
  const unsigned part = size / 4;
  for (unsigned i = first / part; i < 4 && i * part < first + count; i++) {
    const unsigned from = std::max(first, i * part), to = std::min(first + count, (i + 1) * part);
    touch(fours_[children][i], part, from - i * part, to - from, access, judge);
  }
  if (count == size && access.writes) {  // all its bytes have the same history again
    drop(cell);
    cell.write = access.record;
  }
}

void Shadow::split(Cell& cell) {
  if (free_fours_.empty()) {
    fours_.push_back(std::make_unique<Cell[]>(4));
    free_fours_.push_back(static_cast<uint32_t>(fours_.size() - 1));
  }
  const uint32_t children = free_fours_.back();
  free_fours_.pop_back();
  for (unsigned i = 0; i < 4; i++) {
    Cell& child = fours_[children][i];
    child = Cell{cell.write, cell.read, kNone, kNone};
    if (cell.readers == kNone) continue;
    if (free_readers_.empty()) {
      readers_.emplace_back();
      free_readers_.push_back(static_cast<uint32_t>(readers_.size() - 1));
    }
    child.readers = free_readers_.back();
    free_readers_.pop_back();
    readers_[child.readers] = readers_[cell.readers];
  }
  drop(cell);
  cell.children = children;
}

void Shadow::drop(Cell& cell) {
  if (cell.readers != kNone) {
    readers_[cell.readers].all.clear();
    free_readers_.push_back(cell.readers);
    cell.readers = kNone;
  }
  if (cell.children != kNone) {
    for (unsigned i = 0; i < 4; i++) drop(fours_[cell.children][i]);
    free_fours_.push_back(cell.children);
    cell.children = kNone;
  }
  cell.write = cell.read = Record();
}

void Shadow::judge_and_note(Cell& cell, const Access& access, Judge& judge) {
  const Record& mine = access.record;
  const auto check = [&](const Record& earlier, bool writes) {
    if (earlier.epoch == 0 || earlier.epoch == mine.epoch || (earlier.atomic && mine.atomic)) return;
    if (!judge.is_ordered(earlier, writes)) judge.conflict(earlier, writes);
  };
  check(cell.write, true);
  if (!access.writes) return note_reader(cell, access, judge);
  if (cell.readers != kNone) {
    for (const Readers::Reader& reader : readers_[cell.readers].all) check(reader.record, false);
    drop(cell);
  } else {
    check(cell.read, false);
  }
  cell.read = Record();
  cell.write = mine;
}

void Shadow::note_reader(Cell& cell, const Access& access, Judge& judge) {
  const Record& mine = access.record;
  if (cell.readers == kNone) {
    if (cell.read.epoch == 0 || cell.read.epoch == mine.epoch || judge.is_ordered(cell.read, false)) {
      cell.read = mine;
      return;
    }
    if (free_readers_.empty()) {
      readers_.emplace_back();
      free_readers_.push_back(static_cast<uint32_t>(readers_.size() - 1));
    }
    cell.readers = free_readers_.back();
    free_readers_.pop_back();
    readers_[cell.readers].all.push_back({cell.read, ~access.owner});
    cell.read = Record();
  }
  Readers& readers = readers_[cell.readers];
  if (readers.last < readers.all.size() && readers.all[readers.last].record.epoch == mine.epoch) return;
  const auto same = std::find_if(readers.all.begin(), readers.all.end(), [&](const auto& reader) { return reader.record.epoch == mine.epoch; });
  if (same != readers.all.end()) {
    readers.last = static_cast<size_t>(same - readers.all.begin());
    return;
  }
  if (readers.all.size() >= kMostReaders) {
    std::erase_if(readers.all, [&](const auto& reader) { return judge.is_ordered(reader.record, false); });
  }
  if (readers.all.size() >= kMostReaders) {
    const auto stand_in = std::find_if(readers.all.begin(), readers.all.end(), [&](const auto& reader) { return reader.owner == access.owner; });
    auto& place = stand_in != readers.all.end() ? *stand_in : readers.all[mine.epoch % kMostReaders];
    place = {mine, access.owner};
    return;
  }
  readers.last = readers.all.size();
  readers.all.push_back({mine, access.owner});
}

}  // namespace m2::emulator::trace
