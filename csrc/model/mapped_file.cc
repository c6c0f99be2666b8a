#include "model/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace m2 {

MappedFile::MappedFile(std::string path) : path_(std::move(path)) {
  descriptor_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status;
  if (descriptor_ < 0 || fstat(descriptor_, &status) != 0) {
    const int reason = errno;
    if (descriptor_ >= 0) close(descriptor_);
    fail("BAD_CHECKPOINT", path_, ": cannot be opened: ", std::strerror(reason));
  }
  size_ = static_cast<uint64_t>(status.st_size);
  void* data = size_ == 0 ? MAP_FAILED : mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor_, 0);
  if (data == MAP_FAILED) {
    const int reason = errno;
    close(descriptor_);
    fail("BAD_CHECKPOINT", path_, ": cannot be mapped: ", size_ == 0 ? "the file is empty" : std::strerror(reason));
  }
  data_ = static_cast<char*>(data);
}

MappedFile::~MappedFile() {
  munmap(data_, size_);
  close(descriptor_);
}

const void* MappedFile::range(uint64_t offset, uint64_t bytes, const std::string& tensor) const {
  // The size is asked again each time: touching a page that a file no longer has would end the process.
  struct stat status;
  const uint64_t now = fstat(descriptor_, &status) == 0 ? static_cast<uint64_t>(status.st_size) : 0;
  const uint64_t size = now < size_ ? now : size_;
  if (offset > size || bytes > size - offset)
    fail("BAD_CHECKPOINT", path_, ": tensor ", tensor, " ends at byte ", offset + bytes, ", but the file has ", size, " bytes");
  return data_ + offset;
}

void MappedFile::release(uint64_t offset, uint64_t bytes) const {
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t first = (offset + page - 1) / page * page, last = (offset + bytes) / page * page;
  if (last > first) madvise(data_ + first, last - first, MADV_DONTNEED);
}

}  // namespace m2
