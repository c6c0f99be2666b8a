// What every launcher needs: the stream that all work goes to, the chip's sizes, scratch memory and counters. One per backend; one op at a time.
#pragma once
#include <cstddef>
#include <string>

#include "core/view.h"
#include "cuda/device.h"
#include "cuda/handles.h"

namespace m2::cuda {

constexpr int kOldestArchitecture = 80;  // compute capability: bf16 matrix units and asynchronous copies

// Device memory. Errors: OUT_OF_MEMORY with the bytes asked for and those that are free.
Buffer allocate_device(size_t bytes);
// Pinned host memory. Errors: OUT_OF_MEMORY.
Buffer allocate_pinned(size_t bytes);

class Machine {
 public:
  // The `ordinal`-th device, which the user calls `device`. Throws DEVICE_UNAVAILABLE with the facts: no driver or an old one, no such device, an old chip.
  Machine(int ordinal, const std::string& device);
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  cudaStream_t stream() const { return stream_.get(); }
  int ordinal() const { return ordinal_; }
  const std::string& name() const { return name_; }
  int architecture() const { return architecture_; }        // 80, 90, ...
  int multiprocessors() const { return multiprocessors_; }
  size_t shared_per_block() const { return shared_per_block_; }  // bytes, on request
  size_t memory() const { return memory_; }                 // bytes in all
  // Hopper's alone: gemm_tiled, which only others take, does not wait for the kernel before it.
  bool overlaps_kernels() const { return architecture_ / 10 == 9; }

  // Scratch memory of one op: what the op before had there is gone, in the order of the stream. Grows where `bytes` do not fit, but not while ops are
  // recorded: recorded ops keep what they got.
  void* scratch(size_t bytes) const;

  // `n` counters by which the blocks of one launch tell who is last, all zero. They are the same ones for every kernel: each touches them only behind
  // ptx::wait_for_previous_kernel and leaves them zero, which falls to the block that saw a count reach its end. So they need no clearing between launches or
  // replays; a launch that is refused has not touched them, and after one that fails on the device nothing runs any more.
  uint32_t* counters(int64_t n) const;

 private:
  int ordinal_;
  std::string name_;
  int architecture_ = 0, multiprocessors_ = 0;
  size_t shared_per_block_ = 0, memory_ = 0;
  Stream stream_;
  mutable Buffer scratch_;
  Buffer counters_;
};

}  // namespace m2::cuda
