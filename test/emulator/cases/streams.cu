// Streams, events and host functions: what runs when, and in which order.
#include <atomic>
#include <thread>

#include "../host.h"

namespace m2::test {
namespace {

struct Note {
  const int* number;
  int seen = -1;
};
void take_note(void* data) {
  Note& note = *static_cast<Note*>(data);
  note.seen = *note.number;
}
void call_the_runtime(void* data) { *static_cast<cudaError_t*>(data) = cudaDeviceSynchronize(); }

}  // namespace

CASE("streams: in order, and no sooner than needed") {
  for_each_seed([] {
    const OwnedStream stream = make_stream(), other = make_stream();
    const PinnedArray<int> number(1, 0), apart(1, 0);
    for (int digit = 1; digit <= 5; digit++) append(number.data(), digit, stream);
    append(apart.data(), 9, other);
    if (runs_late()) EXPECT(number[0] == 0, "work ran that nobody waited for");
    if (runs_early()) EXPECT(number[0] == 12345 && apart[0] == 9);
    succeed(cudaStreamSynchronize(stream));
    EXPECT(number[0] == 12345, number[0]);
    if (runs_late()) EXPECT(apart[0] == 0, "what another stream holds was not asked for");
    succeed(cudaDeviceSynchronize());
    EXPECT(apart[0] == 9);
  });
}

CASE("streams: a query says no at first, and yes in the end") {
  for_each_seed([] {
    const OwnedStream stream = make_stream();
    const OwnedEvent event = make_event();
    const PinnedArray<int> number(1, 0);
    succeed(cudaStreamQuery(stream));
    succeed(cudaEventQuery(event));  // never recorded
    append(number.data(), 1, stream);
    succeed(cudaEventRecord(event, stream));
    append(number.data(), 2, stream);
    const cudaError_t first = cudaEventQuery(event);
    if (runs_late()) EXPECT(first == cudaErrorNotReady);
    if (runs_early()) EXPECT(first == cudaSuccess);
    int asked = 0;
    for (; cudaEventQuery(event) == cudaErrorNotReady; asked++) EXPECT(asked < 1000);
    EXPECT(number[0] == 1 || number[0] == 12, number[0]);
    if (runs_late()) EXPECT(number[0] == 1, "the event is in front of the second kernel");
    for (; cudaStreamQuery(stream) == cudaErrorNotReady; asked++) EXPECT(asked < 1000);
    EXPECT(number[0] == 12);
  });
}

CASE("streams: the legacy stream waits for blocking ones, and they for it") {
  for_each_seed([] {
    const OwnedStream blocking = make_stream(cudaStreamDefault), free = make_stream();
    const PinnedArray<int> number(1, 0), apart(1, 0);
    append(number.data(), 1, blocking);
    append(apart.data(), 1, free);
    append(number.data(), 2);
    append(number.data(), 3, blocking);
    succeed(cudaStreamSynchronize(blocking));
    EXPECT(number[0] == 123);
    if (runs_late()) EXPECT(apart[0] == 0, "a stream that does not block was waited for");
  });
}

CASE("streams: events order two streams, by their record at the time of the wait") {
  for_each_seed([] {
    const OwnedStream first = make_stream(), second = make_stream();
    const OwnedEvent event = make_event(), never = make_event();
    const PinnedArray<int> number(1, 0), later(1, 0);
    append(number.data(), 1, first);
    succeed(cudaEventRecord(event, first));
    succeed(cudaStreamWaitEvent(second, event));
    succeed(cudaStreamWaitEvent(second, never));
    append(number.data(), 2, second);
    append(later.data(), 1, first);
    succeed(cudaEventRecord(event, first));  // which the wait above does not mean
    succeed(cudaStreamSynchronize(second));
    EXPECT(number[0] == 12, number[0]);
    if (runs_late()) EXPECT(later[0] == 0);
    succeed(cudaEventSynchronize(event));
    EXPECT(later[0] == 1);
  });
}

CASE("streams: a destroyed stream's and event's work is done all the same") {
  for_each_seed([] {
    const PinnedArray<int> number(1, 0);
    const OwnedStream last = make_stream();
    {
      const OwnedStream stream = make_stream();
      const OwnedEvent event = make_event();
      append(number.data(), 1, stream);
      succeed(cudaEventRecord(event, stream));
      succeed(cudaStreamWaitEvent(last, event));
    }
    append(number.data(), 2, last);
    succeed(cudaStreamSynchronize(last));
    EXPECT(number[0] == 12, number[0]);
  });
}

CASE("streams: work that comes after a destroyed stream's") {
  for_each_seed([] {
    const PinnedArray<int> number(1, 0);
    { append(number.data(), 1, make_stream(cudaStreamDefault)); }
    append(number.data(), 2);  // in the legacy stream, which waits for blocking ones
    { append(number.data(), 3, make_stream(cudaStreamDefault)); }
    succeed(cudaDeviceSynchronize());
    append(number.data(), 4, make_stream());
    succeed(cudaDeviceSynchronize());
    EXPECT(number[0] == 1234, number[0]);
  });
}

CASE("streams: the time between two events") {
  for_each_seed([] {
    const OwnedStream stream = make_stream();
    const OwnedEvent begin = make_event(cudaEventDefault), end = make_event(cudaEventDefault), untimed = make_event();
    const PinnedArray<int> number(1, 0);
    float milliseconds = -1;
    EXPECT(cudaEventElapsedTime(&milliseconds, begin, end) == cudaErrorInvalidResourceHandle, "not recorded");
    succeed(cudaEventRecord(begin, stream));
    append(number.data(), 1, stream);
    succeed(cudaEventRecord(end, stream));
    succeed(cudaEventRecord(untimed, stream));
    if (runs_late()) EXPECT(cudaEventElapsedTime(&milliseconds, begin, end) == cudaErrorNotReady);
    succeed(cudaEventSynchronize(untimed));
    EXPECT(cudaEventElapsedTime(&milliseconds, begin, untimed) == cudaErrorInvalidResourceHandle, "without times");
    succeed(cudaEventElapsedTime(&milliseconds, begin, end));
    EXPECT(milliseconds >= 0 && milliseconds < 60000, milliseconds);
  });
}

CASE("streams: host functions run in their place") {
  for_each_seed([] {
    const OwnedStream stream = make_stream();
    const PinnedArray<int> number(1, 0);
    Note note{number.data()};
    append(number.data(), 1, stream);
    succeed(cudaLaunchHostFunc(stream, take_note, &note));
    append(number.data(), 2, stream);
    if (runs_late()) EXPECT(note.seen == -1);
    succeed(cudaStreamSynchronize(stream));
    EXPECT(note.seen == 1, note.seen);
    cudaError_t inside = cudaSuccess;
    succeed(cudaLaunchHostFunc(stream, call_the_runtime, &inside));
    succeed(cudaStreamSynchronize(stream));
    EXPECT(inside == cudaErrorNotPermitted, "a host function called the runtime");
    EXPECT(cudaLaunchHostFunc(stream, nullptr, nullptr) == cudaErrorInvalidValue);
  });
}

CASE("streams: handles that are none") {
  cudaStream_t stream;
  cudaEvent_t event;
  succeed(cudaStreamCreate(&stream));
  succeed(cudaEventCreate(&event));
  succeed(cudaStreamDestroy(stream));
  succeed(cudaEventDestroy(event));
  const PinnedArray<int> number(1, 0);
  float milliseconds;
  for (const cudaError_t error :
       {cudaStreamDestroy(stream), cudaStreamSynchronize(stream), cudaStreamQuery(stream), cudaEventRecord(event, nullptr), cudaEventDestroy(event),
        cudaEventSynchronize(event), cudaEventQuery(event), cudaStreamWaitEvent(nullptr, event), cudaEventElapsedTime(&milliseconds, event, event),
        cudaMemcpyAsync(number.data(), number.data(), 4, cudaMemcpyHostToHost, stream), cudaMemsetAsync(number.data(), 0, 4, stream),
        start<append_kernel>({.grid = 1, .block = 1, .stream = stream}, number.data(), 1), cudaLaunchHostFunc(stream, take_note, nullptr),
        cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal)}) {
    EXPECT(error == cudaErrorInvalidResourceHandle, cudaGetErrorName(error));
  }
  EXPECT(cudaGetLastError() == cudaErrorInvalidResourceHandle);
  EXPECT(cudaGetLastError() == cudaSuccess, "an error that does not stick is told once");
}

namespace {

// Whether the consumer had begun before the producer ended.
bool has_overlapped(bool overlaps) {
  const DeviceArray<int> value(std::vector<int>{0}), begun(std::vector<int>{0}), saw(std::vector<int>{0}), out(1);
  const OwnedStream stream = make_stream();
  succeed(cudaDeviceSynchronize());
  succeed(start<producer_kernel>({.grid = 1, .block = 1, .stream = stream}, value.data(), begun.data(), saw.data()));
  succeed(start<consumer_kernel<>>({.grid = 1, .block = 1, .stream = stream, .overlaps = overlaps}, out.data(), value.data(), begun.data()));
  succeed(cudaStreamSynchronize(stream));
  EXPECT(out.values()[0] == 7, "griddepcontrol.wait shows what the kernel in front wrote");
  return saw.values()[0] == 1;
}

}  // namespace

CASE("streams: a dependent kernel begins before the one in front has ended") {
  int overlapped = 0;
  for_each_seed([&] {
    EXPECT(!has_overlapped(false));
    const bool now = has_overlapped(true);
    overlapped += now;
    if (runs_late()) EXPECT(now);
  });
  EXPECT(overlapped >= 4);
  const int before = std::exchange(emulator::settings().architecture, 80);
  const bool on_ampere = has_overlapped(true);
  emulator::settings().architecture = before;
  EXPECT(!on_ampere, "sm_80 has no such launches");
}

CASE("streams: calls from several threads") {
  for_each_seed([] {
    const PinnedArray<int> numbers(4, 0);
    std::vector<std::thread> threads;
    std::atomic<int> right = 0;
    for (int t = 0; t < 4; t++) {
      threads.emplace_back([&, t] {
        const OwnedStream stream = make_stream();
        for (int digit = 1; digit <= 4; digit++) append(&numbers[t], digit, stream);
        succeed(cudaStreamSynchronize(stream));
        right += numbers[t] == 1234;
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT(right == 4, right.load());
  });
}

}  // namespace m2::test
