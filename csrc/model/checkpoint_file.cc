#include "model/checkpoint_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace m2 {

CheckpointFile::CheckpointFile(std::string path) : path_(std::move(path)), descriptor_(open(path_.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (descriptor_ < 0) fail("BAD_CHECKPOINT", path_, ": cannot be opened: ", std::strerror(errno));
}

CheckpointFile::~CheckpointFile() { close(descriptor_); }

void CheckpointFile::read(uint64_t offset, void* to, uint64_t bytes, const std::string& tensor) const {
  constexpr uint64_t kMost = uint64_t{1} << 30;  // of one call
  for (uint64_t done = 0; done < bytes;) {
    const ssize_t n = pread(descriptor_, static_cast<char*>(to) + done, std::min(bytes - done, kMost), static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("BAD_CHECKPOINT", path_, ": tensor ", tensor, " cannot be read: ", std::strerror(errno));
    if (n == 0) fail("BAD_CHECKPOINT", path_, ": tensor ", tensor, " goes on to byte ", offset + bytes, ", but the file has ", offset + done, " bytes");
    done += static_cast<uint64_t>(n);
  }
}

void CheckpointFile::want([[maybe_unused]] uint64_t offset, [[maybe_unused]] uint64_t bytes) const {
#ifdef POSIX_FADV_WILLNEED
  posix_fadvise(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_WILLNEED);
#endif
}

}  // namespace m2
