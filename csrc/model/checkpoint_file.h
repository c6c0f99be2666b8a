// A file of a checkpoint, read in pieces. Not mapped: a mapped file that somebody cuts short while it is read ends the process. POSIX only.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace m2 {

class CheckpointFile {
 public:
  explicit CheckpointFile(std::string path);
  ~CheckpointFile();
  CheckpointFile(const CheckpointFile&) = delete;
  CheckpointFile& operator=(const CheckpointFile&) = delete;

  // Throws BAD_CHECKPOINT, naming file and tensor, when the file does not have these bytes (any more).
  void read(uint64_t offset, void* to, uint64_t bytes, const std::string& tensor) const;
  // Tells the system that these bytes are wanted soon.
  void want(uint64_t offset, uint64_t bytes) const;

 private:
  std::string path_;
  int descriptor_ = -1;
};

}  // namespace m2
