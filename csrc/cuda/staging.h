// Copies between the device and any memory of the host, through two pinned buffers in turn: while the device takes one, the host fills the other.
#pragma once
#include <algorithm>
#include <array>
#include <cstring>

#include "cuda/check.h"
#include "cuda/handles.h"
#include "cuda/machine.h"

namespace m2::cuda {

class Staging {
 public:
  static constexpr size_t kBytes = size_t{8} << 20;  // of one buffer

  explicit Staging(const Machine&);
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // `host` may change when this returns.
  void upload(void* device, const void* host, size_t bytes);
  // `host` is written when this returns.
  void download(void* host, const void* device, size_t bytes);
  // Brings at most kBytes into device memory and calls use(device memory), which launches what reads them.
  template <class Use>
  void bring(const void* host, size_t bytes, const Use& use) {
    Slot& slot = fill(host, bytes);
    check(cudaMemcpyAsync(slot.device.data(), slot.pinned.data(), bytes, cudaMemcpyHostToDevice, machine_.stream()), "copying to the device");
    use(slot.device.data());
    release(slot);
  }
  // The same memory for what use(device memory) launches: to write it, and to read that.
  template <class Use>
  void lend(const Use& use) {
    Slot& slot = next();
    use(slot.device.data());
    release(slot);
  }

 private:
  struct Slot {
    Buffer pinned, device;
    Event free;  // when the device needs neither any more
  };
  Slot& next();
  Slot& fill(const void* host, size_t bytes);
  void release(Slot&);

  const Machine& machine_;
  std::array<Slot, 2> slots_;
  int turn_ = 0;
};

}  // namespace m2::cuda
