#include "model/shard_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "model/row_quantiser.h"
#include "model/tensor_reader.h"

namespace m2 {
namespace {

class OutputFile {
 public:
  explicit OutputFile(std::string path) : path_(std::move(path)), descriptor_(open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
    if (descriptor_ < 0) refuse();
  }
  ~OutputFile() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(uint64_t offset, const void* from, uint64_t bytes) {
    constexpr uint64_t kMost = uint64_t{1} << 30;  // of one call
    for (uint64_t done = 0; done < bytes;) {
      const ssize_t n = pwrite(descriptor_, static_cast<const char*>(from) + done, std::min(bytes - done, kMost), static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) refuse();
      done += static_cast<uint64_t>(n);
    }
  }
  // Some errors come only now.
  void finish() {
    if (fsync(descriptor_) != 0) refuse();
    const int descriptor = descriptor_;
    descriptor_ = -1;
    if (close(descriptor) != 0) refuse();
  }

 private:
  [[noreturn]] void refuse() const { fail("BAD_INPUT", path_, ": expected a place to write a file, found: ", std::strerror(errno)); }

  std::string path_;
  int descriptor_;
};

class Writer {
 public:
  Writer(const WeightPlan& source, const Shard& shard) : source_(source), reader_(source), file_(shard.path) { file_.write(0, shard.header.data(), shard.header.size()); }

  void take(const ShardTensor& to, int64_t first, const MatrixRows& rows) {
    const int64_t count = rows.values.size(0), k = columns_of(rows);
    const uint64_t at = static_cast<uint64_t>(first);
    if (to.action == ShardAction::kCopy) {
      const uint64_t row_bytes = static_cast<uint64_t>(k) * dtype_bytes(rows.values.dtype);
      return file_.write(to.values + at * row_bytes, rows.values.data, static_cast<uint64_t>(count) * row_bytes);
    }
    if (to.action == ShardAction::kBf16) {
      halves_.resize(static_cast<size_t>(count * k));
      for (int64_t i = 0; i < count; i += kScaleBlock) write_as_bf16(rows, i, std::min(kScaleBlock, count - i), halves_.data() + i * k);
      return file_.write(to.values + at * static_cast<uint64_t>(k) * sizeof(bf16), halves_.data(), halves_.size() * sizeof(bf16));
    }
    const MatrixRows codes = quantiser_.quantise(rows);
    const uint64_t code_bytes = static_cast<uint64_t>(k) / 2, scale_bytes = static_cast<uint64_t>(codes.scales.size(1)) * sizeof(bf16);
    file_.write(to.values + at * code_bytes, codes.values.data, static_cast<uint64_t>(count) * code_bytes);
    file_.write(to.scales + at * scale_bytes, codes.scales.data, static_cast<uint64_t>(count) * scale_bytes);
  }

  // The tensor's loss, of int4.
  Int4Error write(const ShardTensor& to, const std::function<void(uint64_t bytes)>& done) {
    const TensorEntry& t = source_.tensors[static_cast<size_t>(to.source)];
    quantiser_ = {};
    try {
      reader_.read(t, [&](int64_t first, const MatrixRows& rows) {
        take(to, first, rows);
        done(static_cast<uint64_t>(rows.values.size(0)) * t.row_bytes());
      });
    } catch (const Error& error) {
      if (std::strncmp(error.what(), "expected finite", 15) != 0) throw;  // what is wrong with the numbers does not say yet whose they are
      fail("BAD_CHECKPOINT", source_.files[static_cast<size_t>(t.values.file)], ": ", t.name, ": ", error.what());
    }
    if (to.action == ShardAction::kInt4) {
      const std::array<int64_t, 2> shape{t.rows, t.cols};
      file_.write(to.shape, shape.data(), sizeof shape);
    }
    return quantiser_.error();
  }
  void finish() { file_.finish(); }

 private:
  const WeightPlan& source_;
  TensorReader reader_;
  RowQuantiser quantiser_;
  OutputFile file_;
  std::vector<bf16> halves_;
};

}  // namespace

std::vector<Int4Error> write_shard(const WeightPlan& source, const Shard& shard, const std::function<bool()>& cancelled, const Progress& progress) {
  uint64_t total = 0, done = 0;
  for (const ShardTensor& t : shard.tensors) {
    expect(t.source >= 0 && t.source < static_cast<int64_t>(source.tensors.size()), "a shard has tensor ", t.source, " of ", source.tensors.size());
    total += source.tensors[static_cast<size_t>(t.source)].bytes();
  }
  Writer writer(source, shard);
  std::vector<Int4Error> losses;
  for (const ShardTensor& t : shard.tensors) {
    const Int4Error loss = writer.write(t, [&](uint64_t bytes) {
      if (cancelled()) fail("CLOSED", shard.path, ": stopped");
      progress(done += bytes, total);
    });
    if (t.action == ShardAction::kInt4) losses.push_back(loss);
  }
  writer.finish();
  return losses;
}

}  // namespace m2
