// Memory and copies: what is allocated, freed and left over, and when a copy reads and writes.
#include "../host.h"
#include "emulator/device/sanitizers.h"

namespace m2::test {
namespace {

// A DeviceArray of values is filled by a copy of pageable memory in the legacy stream, which has only been read then: blocking streams come after it.
constexpr int kCount = 1000;

std::vector<int> counting(int from) {
  std::vector<int> values(kCount);
  for (int i = 0; i < kCount; i++) values[i] = from + i;
  return values;
}

}  // namespace

CASE("memory: a device has so much of it") {
  const size_t before = emulator::settings().memory;
  emulator::settings().memory = 1 << 20;
  emulator::reset_device();
  size_t free = 0, total = 0;
  succeed(cudaMemGetInfo(&free, &total));
  EXPECT(free == 1 << 20 && total == 1 << 20);
  {
    const DeviceArray<char> most(1 << 19), rest((1 << 19) - 256);
    succeed(cudaMemGetInfo(&free, &total));
    EXPECT(free == 256 && total == 1 << 20, free);
    void* more = &free;
    EXPECT(cudaMalloc(&more, 257) == cudaErrorMemoryAllocation && !more);
    EXPECT(cudaMalloc(&more, ~size_t{0}) == cudaErrorMemoryAllocation && !more);
    EXPECT(cudaGetLastError() == cudaErrorMemoryAllocation);
    const DeviceArray<char> last(256);
    const PinnedArray<char> pinned(1 << 20);  // is the host's
    succeed(cudaMemGetInfo(&free, &total));
    EXPECT(free == 0, free);
  }
  succeed(cudaMemGetInfo(&free, &total));
  EXPECT(free == 1 << 20, free);
  void* nothing = &free;
  succeed(cudaMalloc(&nothing, 0));
  EXPECT(!nothing);
  succeed(cudaFree(nullptr));
  succeed(cudaFreeHost(nullptr));
  emulator::settings().memory = before;
}

CASE("memory: what pointers are") {
  const DeviceArray<int> device(4);
  const PinnedArray<int> pinned(4);
  int pageable;
  cudaPointerAttributes attributes;
  succeed(cudaPointerGetAttributes(&attributes, device.data() + 1));
  EXPECT(attributes.type == cudaMemoryTypeDevice && attributes.device == 0 && attributes.devicePointer == device.data() + 1 && !attributes.hostPointer);
  succeed(cudaPointerGetAttributes(&attributes, pinned.data() + 1));
  EXPECT(attributes.type == cudaMemoryTypeHost && attributes.hostPointer == pinned.data() + 1);
  succeed(cudaPointerGetAttributes(&attributes, &pageable));
  EXPECT(attributes.type == cudaMemoryTypeUnregistered && !attributes.devicePointer);
}

CASE("memory: frees of what is none") {
  int pageable;
  char* device;
  char* pinned;
  succeed(cudaMalloc(&device, 64));
  succeed(cudaMallocHost(&pinned, 64));
  refused(cudaFree(device + 16), cudaErrorInvalidValue, "16 bytes into 64 bytes of the device");
  refused(cudaFree(pinned), cudaErrorInvalidValue, "64 pinned bytes");
  refused(cudaFreeHost(device), cudaErrorInvalidValue, "64 bytes of the device");
  refused(cudaFree(&pageable), cudaErrorInvalidValue, "in no allocation");
  succeed(cudaFree(device));
  succeed(cudaFreeHost(pinned));
  refused(cudaFree(device), cudaErrorInvalidValue, "cudaFree: ");
  refused(cudaFreeHost(pinned), cudaErrorInvalidValue, "cudaFreeHost: ");
  EXPECT(emulator::reset_device().empty());
}

CASE("memory: what was not freed is listed") {
  emulator::reset_device();
  void *device, *pinned;
  cudaStream_t stream;
  cudaEvent_t event;
  succeed(cudaMalloc(&device, 123));
  succeed(cudaMallocHost(&pinned, 45));
  succeed(cudaStreamCreate(&stream));
  succeed(cudaEventCreate(&event));
  std::string all;
  for (const std::string& line : emulator::reset_device()) all += line + "\n";
  for (const char* part : {"123 bytes of the device (allocated at ", "memory.cu:", "45 pinned bytes", "1 streams", "1 events"}) {
    EXPECT(contains(all, part), all);
  }
  EXPECT(emulator::reset_device().empty());
}

CASE("memory: a free waits for the work that uses it") {
  for_each_seed([] {
    const PinnedArray<int> number(1, 0);
    int* copied;
    succeed(cudaMalloc(&copied, sizeof(int)));
    const OwnedStream stream = make_stream();
    succeed(cudaMemsetAsync(copied, 0, sizeof(int), stream));
    append(copied, 4, stream);
    succeed(cudaMemcpyAsync(number.data(), copied, sizeof(int), cudaMemcpyDeviceToHost, stream));
    succeed(cudaFree(copied));
    EXPECT(number[0] == 4, number[0]);
  });
}

CASE("memory: use after free is reported") {
  for_each_seed([] {
    const DeviceArray<int> kept(kCount);
    int* freed;
    const auto fresh = [&] {
      succeed(cudaMalloc(&freed, kCount * sizeof(int)));
      succeed(cudaFree(freed));
    };
    fresh();
    refused(cudaMemsetAsync(freed, 0, 4), cudaErrorInvalidValue, "a fill of 4 bytes");
    refused(cudaMemcpyAsync(freed, kept.data(), 4, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue, "a copy's kind");
    const std::string report = report_of<copy_kernel>({.grid = 1, .block = 32}, freed, kept.data(), kCount);
    EXPECT(contains(report, "copy_kernel: an argument points to nothing of the device"), report);
  });
}

#if !M2_ASAN  // which would end the program
CASE("memory: a report names the line of the access, also in a header") {
  for_each_seed([] {
    const DeviceArray<int> numbers(64);
    const std::string report = report_of<append_kernel>({.grid = 1, .block = 1}, numbers.data() + 64, 1);
    EXPECT(contains(report, "0 bytes behind the end of 256 bytes of the device") && contains(report, "host.h:"), report);
  });
}
#endif

CASE("copies: there and back, by every kind") {
  for_each_seed([] {
    const std::vector<int> values = counting(5);
    const DeviceArray<int> a(values), b(kCount);
    const PinnedArray<int> pinned(kCount);
    const OwnedStream stream = make_stream(cudaStreamDefault);
    std::vector<int> back(kCount);
    succeed(cudaMemcpyAsync(b.data(), a.data(), kCount * sizeof(int), cudaMemcpyDeviceToDevice, stream));
    succeed(cudaMemsetAsync(a.data(), 0, kCount * sizeof(int), stream));
    succeed(cudaMemcpyAsync(pinned.data(), b.data(), kCount * sizeof(int), cudaMemcpyDefault, stream));
    succeed(cudaMemcpyAsync(a.data(), pinned.data(), kCount * sizeof(int), cudaMemcpyHostToDevice, stream));
    succeed(cudaMemcpyAsync(back.data(), a.data(), kCount * sizeof(int), cudaMemcpyDeviceToHost, stream));
    EXPECT(back == values, "a copy to pageable memory is there when the call returns");
    succeed(cudaMemset(a.data() + 1, 1, 2 * sizeof(int)));
    EXPECT(a.values()[0] == 5 && a.values()[1] == 0x01010101 && a.values()[3] == 8);
  });
}

CASE("copies: pageable memory is read at the call") {
  for_each_seed([] {
    const DeviceArray<int> to(kCount);
    const OwnedStream stream = make_stream();
    std::vector<int> from = counting(1);
    succeed(cudaMemcpyAsync(to.data(), from.data(), kCount * sizeof(int), cudaMemcpyHostToDevice, stream));
    from.assign(kCount, 0);
    succeed(cudaStreamSynchronize(stream));
    EXPECT(to.values() == counting(1));
  });
}

CASE("copies: pinned memory is read when the copy runs, and is not to be changed before") {
  for_each_seed([] {
    const DeviceArray<int> to(kCount);
    const OwnedStream stream = make_stream();
    const PinnedArray<int> from(kCount, 3);
    succeed(cudaMemcpyAsync(to.data(), from.data(), kCount * sizeof(int), cudaMemcpyHostToDevice, stream));
    succeed(cudaStreamSynchronize(stream));
    from[kCount - 1] = 4;  // the copy has run
    EXPECT(to.values() == std::vector<int>(kCount, 3));
    succeed(cudaMemcpyAsync(to.data(), from.data(), kCount * sizeof(int), cudaMemcpyHostToDevice, stream));
    from[kCount - 1] = 5;
    const cudaError_t error = cudaStreamSynchronize(stream);
    if (runs_late()) refused(error, cudaErrorIllegalState, "pinned memory was changed while a copy from it");
    if (runs_early()) succeed(error);
    EXPECT(error == cudaSuccess || cudaMemset(to.data(), 0, 4) == error, "that sticks");
    emulator::reset_device();
  });
}

CASE("copies: what streams write to pinned memory may be copied on") {
  for_each_seed([] {
    const DeviceArray<int> from(counting(7)), to(kCount);
    const OwnedStream stream = make_stream(cudaStreamDefault);
    const PinnedArray<int> between(kCount, 0);
    succeed(cudaMemcpyAsync(between.data(), from.data(), kCount * sizeof(int), cudaMemcpyDeviceToHost, stream));
    succeed(cudaMemcpyAsync(to.data(), between.data(), kCount * sizeof(int), cudaMemcpyHostToDevice, stream));
    succeed(cudaStreamSynchronize(stream));
    EXPECT(to.values() == counting(7));
  });
}

CASE("copies: to pinned memory, where nothing is before the wait") {
  for_each_seed([] {
    const DeviceArray<int> from(counting(1));
    const OwnedStream stream = make_stream(cudaStreamDefault);
    const PinnedArray<int> to(kCount, 1234);
    succeed(cudaMemcpyAsync(to.data(), from.data(), kCount * sizeof(int), cudaMemcpyDeviceToHost, stream));
    if (runs_late()) EXPECT(to[0] == -1, "neither the old values nor the new ones");
    succeed(cudaStreamSynchronize(stream));
    EXPECT(to[0] == 1 && to[kCount - 1] == kCount);
    to[0] = 1234;
    succeed(cudaMemcpy(to.data(), from.data(), kCount * sizeof(int), cudaMemcpyDeviceToHost));
    EXPECT(to[0] == 1, "cudaMemcpy waits for it");
  });
}

CASE("copies: from host memory to host memory at once") {
  for_each_seed([] {
    const OwnedStream stream = make_stream();
    const PinnedArray<int> from(kCount, 3), to(kCount, 4);
    succeed(cudaMemcpyAsync(to.data(), from.data(), kCount * sizeof(int), cudaMemcpyHostToHost, stream));
    EXPECT(to[kCount - 1] == 3);
  });
}

CASE("copies: what cannot be") {
  const DeviceArray<int> device(4);
  const PinnedArray<int> pinned(4, 0);
  int pageable[8] = {};
  refused(cudaMemcpy(device.data(), pinned.data(), 17, cudaMemcpyHostToDevice), cudaErrorInvalidValue, "17 bytes to 0 bytes into 16 bytes of the device");
  refused(cudaMemcpy(device.data() + 1, pageable, 16, cudaMemcpyHostToDevice), cudaErrorInvalidValue, "to 4 bytes into 16 bytes of the device");
  refused(cudaMemcpy(pageable, device.data() + 2, 12, cudaMemcpyDeviceToHost), cudaErrorInvalidValue, "from 8 bytes into 16 bytes of the device");
  refused(cudaMemcpy(pageable, pinned.data(), 32, cudaMemcpyHostToHost), cudaErrorInvalidValue, "from 0 bytes into 16 pinned bytes");
  refused(cudaMemcpy(device.data(), pinned.data(), 16, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue, "kind does not fit");
  refused(cudaMemcpy(pageable, pinned.data(), 16, cudaMemcpyHostToDevice), cudaErrorInvalidValue, "kind does not fit");
  refused(cudaMemcpy(pageable, pinned.data(), 16, static_cast<cudaMemcpyKind>(5)), cudaErrorInvalidMemcpyDirection);
  refused(cudaMemset(device.data(), 0, 17), cudaErrorInvalidValue, "a fill of 17 bytes");
  refused(cudaMemset(pageable, 0, 4), cudaErrorInvalidValue, "in no allocation");
  succeed(cudaMemcpy(device.data(), pinned.data(), 0, cudaMemcpyHostToDevice));
  succeed(cudaMemcpy(device.data(), pinned.data(), 16, cudaMemcpyHostToDevice));
}

}  // namespace m2::test
