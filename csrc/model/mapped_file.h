// A file mapped read-only, and the bytes of a tensor in it. POSIX only.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace m2 {

class MappedFile {
 public:
  explicit MappedFile(std::string path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  // Throws BAD_CHECKPOINT, naming file and tensor, when the range does not lie in the file as it is now.
  const void* range(uint64_t offset, uint64_t bytes, const std::string& tensor) const;
  // Tells the system that these bytes are not needed again.
  void release(uint64_t offset, uint64_t bytes) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
  char* data_ = nullptr;
};

}  // namespace m2
