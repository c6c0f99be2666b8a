// Stream capture and graphs: what a graph holds, what it is independent of, and what spoils a capture.
#include <thread>

#include "../host.h"

namespace m2::test {
namespace {

constexpr cudaStreamCaptureMode kMode = cudaStreamCaptureModeThreadLocal;

void begin(cudaStream_t stream, cudaStreamCaptureMode mode = kMode) { succeed(cudaStreamBeginCapture(stream, mode)); }
OwnedGraph end(cudaStream_t stream) {
  cudaGraph_t graph;
  succeed(cudaStreamEndCapture(stream, &graph));
  return OwnedGraph(graph);
}
// A capture that ends with an error, and leaves the stream as it was.
void ends_with(cudaError_t error, cudaStream_t stream) {
  cudaGraph_t graph = reinterpret_cast<cudaGraph_t>(1);
  const cudaError_t got = cudaStreamEndCapture(stream, &graph);
  EXPECT(got == error, cudaGetErrorName(got));
  EXPECT(!graph);
  cudaStreamCaptureStatus status;
  succeed(cudaStreamIsCapturing(stream, &status));
  EXPECT(status == cudaStreamCaptureStatusNone);
}

// A call in a capture that is refused, and the capture with it.
template <class Call>
void spoils(cudaError_t expected, Call call, cudaStreamCaptureMode mode = kMode) {
  const OwnedStream stream = make_stream(cudaStreamDefault);
  begin(stream, mode);
  const cudaError_t got = call(stream);
  EXPECT(got == expected, cudaGetErrorName(got), " where ", cudaGetErrorName(expected), " was expected");
  cudaStreamCaptureStatus status;
  succeed(cudaStreamIsCapturing(stream, &status));
  EXPECT(status == cudaStreamCaptureStatusInvalidated);
  ends_with(cudaErrorStreamCaptureInvalidated, stream);
  succeed(cudaStreamSynchronize(stream));
}

void add_ten(void* number) { *static_cast<int*>(number) += 10; }

}  // namespace

CASE("graphs: captured work runs when it is launched, each time with the arguments of the capture") {
  for_each_seed([] {
    const OwnedStream stream = make_stream();
    const PinnedArray<int> number(1, 0);
    int digit = 3;
    begin(stream);
    cudaStreamCaptureStatus status;
    succeed(cudaStreamIsCapturing(stream, &status));
    EXPECT(status == cudaStreamCaptureStatusActive);
    append(number.data(), digit, stream);
    digit = 4;
    append(number.data(), digit, stream);
    digit = 5;
    const OwnedGraph graph = end(stream);
    succeed(cudaStreamSynchronize(stream));
    EXPECT(number[0] == 0, "what is captured does not run");
    size_t nodes = 0;
    succeed(cudaGraphGetNodes(graph, nullptr, &nodes));
    EXPECT(nodes == 2, nodes);
    const OwnedExec exec = instantiate(graph);
    succeed(cudaGraphUpload(exec, stream));
    succeed(cudaGraphLaunch(exec, stream));
    append(number.data(), 9, stream);
    succeed(cudaGraphLaunch(exec, stream));
    if (runs_late()) EXPECT(number[0] == 0);
    succeed(cudaStreamSynchronize(stream));
    EXPECT(number[0] == 34934, number[0]);
  });
}

CASE("graphs: an instance is independent of its graph, and a launch of its instance") {
  for_each_seed([] {
    const OwnedStream stream = make_stream();
    const PinnedArray<int> number(1, 0);
    {
      begin(stream);
      append(number.data(), 7, stream);
      OwnedGraph graph = end(stream);
      const OwnedExec exec = instantiate(graph);
      { const OwnedGraph destroyed = std::move(graph); }
      succeed(cudaGraphLaunch(exec, stream));
    }
    succeed(cudaStreamSynchronize(stream));
    EXPECT(number[0] == 7, number[0]);
  });
}

CASE("graphs: copies, fills and host functions run with the memory's contents of the launch") {
  for_each_seed([] {
    const OwnedStream stream = make_stream();
    const DeviceArray<int> device(1);
    const PinnedArray<int> from(1, 1), to(1, 0), calls(1, 0);
    begin(stream);
    succeed(cudaMemsetAsync(device.data(), 0xff, sizeof(int), stream));
    succeed(cudaMemcpyAsync(device.data(), from.data(), sizeof(int), cudaMemcpyHostToDevice, stream));
    append(device.data(), 5, stream);
    succeed(cudaMemcpyAsync(to.data(), device.data(), sizeof(int), cudaMemcpyDeviceToHost, stream));
    succeed(cudaLaunchHostFunc(stream, add_ten, calls.data()));
    const OwnedGraph graph = end(stream);
    const OwnedExec exec = instantiate(graph);
    for (int i = 1; i <= 3; i++) {
      from[0] = i;
      succeed(cudaGraphLaunch(exec, stream));
      succeed(cudaStreamSynchronize(stream));
      EXPECT(to[0] == 10 * i + 5 && calls[0] == 10 * i, to[0]);
    }
  });
}

CASE("graphs: forked streams that are joined again") {
  for_each_seed([] {
    const OwnedStream stream = make_stream(), branch = make_stream();
    const OwnedEvent forked = make_event(), joined = make_event();
    const PinnedArray<int> left(1, 0), right(1, 0);
    begin(stream);
    append(left.data(), 1, stream);
    succeed(cudaEventRecord(forked, stream));
    succeed(cudaStreamWaitEvent(branch, forked));
    cudaStreamCaptureStatus status;
    succeed(cudaStreamIsCapturing(branch, &status));
    EXPECT(status == cudaStreamCaptureStatusActive, "a fork is captured too");
    succeed(start<copy_kernel>({.grid = 1, .block = 1, .stream = branch}, right.data(), left.data(), 1));
    append(right.data(), 2, branch);
    succeed(cudaEventRecord(joined, branch));
    succeed(cudaStreamWaitEvent(stream, joined));
    append(right.data(), 3, stream);
    const OwnedGraph graph = end(stream);
    const OwnedExec exec = instantiate(graph);
    append(left.data(), 4, branch);  // is no part of it: the capture is over for the branch as well
    succeed(cudaStreamSynchronize(branch));
    EXPECT(left[0] == 4, left[0]);
    succeed(cudaGraphLaunch(exec, stream));
    succeed(cudaStreamSynchronize(stream));
    EXPECT(left[0] == 41 && right[0] == 4123, left[0], " ", right[0]);
  });
}

CASE("graphs: forks that are not joined") {
  for_each_seed([] {
    const OwnedStream stream = make_stream(), branch = make_stream();
    const OwnedEvent forked = make_event(), joined = make_event();
    const PinnedArray<int> number(1, 0);
    const auto fork = [&] {
      begin(stream);
      succeed(cudaEventRecord(forked, stream));
      succeed(cudaStreamWaitEvent(branch, forked));
      append(number.data(), 1, branch);
    };
    fork();
    ends_with(cudaErrorStreamCaptureUnjoined, stream);
    fork();
    succeed(cudaEventRecord(joined, branch));
    append(number.data(), 2, branch);  // behind what is joined
    succeed(cudaStreamWaitEvent(stream, joined));
    ends_with(cudaErrorStreamCaptureUnjoined, stream);
    fork();
    cudaGraph_t graph;
    EXPECT(cudaStreamEndCapture(branch, &graph) == cudaErrorStreamCaptureUnmatched);
    cudaStreamEndCapture(stream, &graph);
    append(number.data(), 5, branch);
    succeed(cudaStreamSynchronize(branch));
    EXPECT(number[0] == 5, "both streams are as before");
  });
}

CASE("graphs: calls that spoil a capture") {
  emulator::reset_device();
  const PinnedArray<int> pinned(1, 0);
  const OwnedEvent event = make_event(), outside = make_event();
  const OwnedStream other = make_stream();
  const DeviceArray<int> device(1);
  succeed(cudaEventRecord(outside, other));
  int pageable = 0;
  void* data;
  spoils(cudaErrorStreamCaptureUnsupported, [](cudaStream_t s) { return cudaStreamSynchronize(s); });
  spoils(cudaErrorStreamCaptureUnsupported, [](cudaStream_t s) { return cudaStreamQuery(s); });
  spoils(cudaErrorStreamCaptureUnsupported, [&](cudaStream_t) { return cudaMalloc(&data, 16); });
  spoils(cudaErrorStreamCaptureUnsupported, [&](cudaStream_t) { return cudaFree(device.data()); });
  spoils(cudaErrorStreamCaptureUnsupported, [&](cudaStream_t) { return cudaMallocHost(&data, 16); });
  spoils(cudaErrorStreamCaptureUnsupported, [&](cudaStream_t) { return cudaFreeHost(pinned.data()); });
  spoils(cudaErrorStreamCaptureUnsupported,
         [&](cudaStream_t s) { return cudaMemcpyAsync(device.data(), &pageable, sizeof(int), cudaMemcpyHostToDevice, s); });
  for (const cudaStreamCaptureMode mode : {cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal, cudaStreamCaptureModeRelaxed}) {
    spoils(cudaErrorStreamCaptureUnsupported, [](cudaStream_t) { return cudaDeviceSynchronize(); }, mode);
    spoils(cudaErrorStreamCaptureImplicit, [&](cudaStream_t) { return cudaMemsetAsync(device.data(), 0, sizeof(int)); }, mode);
    spoils(cudaErrorStreamCaptureImplicit, [](cudaStream_t) { return cudaStreamSynchronize(nullptr); }, mode);
    spoils(cudaErrorStreamCaptureImplicit, [](cudaStream_t) { return cudaStreamQuery(nullptr); }, mode);
    spoils(cudaErrorStreamCaptureImplicit, [&](cudaStream_t) { return cudaEventRecord(event); }, mode);
    spoils(cudaErrorStreamCaptureIsolation, [&](cudaStream_t s) { return cudaStreamWaitEvent(s, outside); }, mode);
  }
  for (cudaError_t (*question)(cudaEvent_t) : {+[](cudaEvent_t e) { return cudaEventQuery(e); }, +[](cudaEvent_t e) { return cudaEventSynchronize(e); }}) {
    spoils(cudaErrorCapturedEvent, [&](cudaStream_t s) {
      succeed(cudaEventRecord(event, s));
      return question(event);
    });
  }
  spoils(cudaErrorStreamCaptureImplicit, [&](cudaStream_t s) {
    succeed(cudaEventRecord(event, s));
    return cudaStreamWaitEvent(nullptr, event);
  });
}

CASE("graphs: calls that a capture of another thread, or a relaxed one, does not mind") {
  emulator::reset_device();
  const OwnedStream stream = make_stream();
  const auto allocate = [] {
    void* data;
    const cudaError_t error = cudaMalloc(&data, 16);
    if (error == cudaSuccess) succeed(cudaFree(data));
    return error;
  };
  const auto in_another_thread = [](auto call) {
    cudaError_t error;
    std::thread([&] { error = call(); }).join();
    return error;
  };
  begin(stream, cudaStreamCaptureModeRelaxed);
  succeed(allocate());
  end(stream);
  begin(stream, cudaStreamCaptureModeThreadLocal);
  succeed(in_another_thread(allocate));
  cudaGraph_t graph = nullptr;
  EXPECT(in_another_thread([&] { return cudaStreamEndCapture(stream, &graph); }) == cudaErrorStreamCaptureWrongThread);
  const OwnedStream blocking = make_stream(cudaStreamDefault);
  succeed(cudaStreamSynchronize(nullptr));  // the captured stream does not block
  succeed(cudaStreamSynchronize(blocking));
  end(stream);
  begin(stream, cudaStreamCaptureModeGlobal);
  EXPECT(in_another_thread(allocate) == cudaErrorStreamCaptureUnsupported);
  ends_with(cudaErrorStreamCaptureInvalidated, stream);
}

CASE("graphs: captures are apart from one another") {
  emulator::reset_device();
  const OwnedStream first = make_stream(), second = make_stream();
  const OwnedEvent event = make_event();
  begin(first);
  begin(second);
  succeed(cudaEventRecord(event, first));
  EXPECT(cudaStreamWaitEvent(second, event) == cudaErrorStreamCaptureMerge);
  ends_with(cudaErrorStreamCaptureInvalidated, first);
  ends_with(cudaErrorStreamCaptureInvalidated, second);
  begin(first);
  EXPECT(cudaStreamBeginCapture(first, kMode) == cudaErrorIllegalState, "twice");
  end(first);
  ends_with(cudaErrorIllegalState, first);
  refused(cudaStreamBeginCapture(nullptr, kMode), cudaErrorStreamCaptureUnsupported, "the legacy stream");
}

CASE("graphs: an event of a capture that is over is no event of work") {
  emulator::reset_device();
  const OwnedStream stream = make_stream(), other = make_stream();
  const OwnedEvent event = make_event();
  const PinnedArray<int> number(1, 0);
  begin(stream);
  append(number.data(), 1, stream);
  succeed(cudaEventRecord(event, stream));
  end(stream);
  EXPECT(cudaStreamWaitEvent(other, event) == cudaErrorCapturedEvent);
  EXPECT(cudaEventQuery(event) == cudaErrorCapturedEvent && cudaEventSynchronize(event) == cudaErrorCapturedEvent);
  append(number.data(), 2, other);
  succeed(cudaStreamSynchronize(other));
  EXPECT(number[0] == 2, "the other stream is not captured");
  succeed(cudaEventRecord(event, other));
  succeed(cudaEventSynchronize(event));
}

CASE("graphs: streams destroyed, and a device reset, while they are captured") {
  for_each_seed([] {
    const PinnedArray<int> number(1, 0);
    const OwnedEvent forked = make_event();
    const OwnedStream branch = make_stream();
    {
      const OwnedStream stream = make_stream(cudaStreamDefault);
      begin(stream);
      append(number.data(), 1, stream);
      succeed(cudaEventRecord(forked, stream));
      succeed(cudaStreamWaitEvent(branch, forked));
    }
    append(number.data(), 2, branch);  // neither is captured any more
    succeed(cudaStreamSynchronize(branch));
    append(number.data(), 3);
    succeed(cudaDeviceSynchronize());
    EXPECT(number[0] == 23, number[0]);
    begin(branch);
    append(number.data(), 4, branch);
  });
}

CASE("graphs: whatever fails, EndCapture ends the capture") {
  emulator::reset_device();
  const OwnedStream stream = make_stream();
  begin(stream);
  emulator::fail_call(1, cudaErrorMemoryAllocation);
  ends_with(cudaErrorMemoryAllocation, stream);
}

CASE("graphs: handles that are none") {
  emulator::reset_device();
  const OwnedStream stream = make_stream();
  begin(stream);
  OwnedGraph graph = end(stream);
  const cudaGraph_t gone = graph;
  { const OwnedGraph destroyed = std::move(graph); }
  cudaGraphExec_t exec;
  size_t nodes;
  EXPECT(cudaGraphInstantiate(&exec, gone) == cudaErrorInvalidValue && cudaGraphDestroy(gone) == cudaErrorInvalidValue);
  EXPECT(cudaGraphGetNodes(gone, nullptr, &nodes) == cudaErrorInvalidValue);
  EXPECT(cudaGraphLaunch(nullptr, stream) == cudaErrorInvalidValue && cudaGraphExecDestroy(nullptr) == cudaErrorInvalidValue);
}

CASE("graphs: a dependent kernel begins before the one in front has ended") {
  for_each_seed([] {
    const OwnedStream stream = make_stream();
    const DeviceArray<int> value(1), saw(1), out(1), begun(1);
    begin(stream);
    succeed(cudaMemsetAsync(begun.data(), 0, sizeof(int), stream));
    succeed(start<producer_kernel>({.grid = 1, .block = 1, .stream = stream}, value.data(), begun.data(), saw.data()));
    succeed(start<consumer_kernel<>>({.grid = 1, .block = 1, .stream = stream, .overlaps = true}, out.data(), value.data(), begun.data()));
    const OwnedGraph graph = end(stream);
    const OwnedExec exec = instantiate(graph);
    succeed(cudaGraphLaunch(exec, stream));
    succeed(cudaStreamSynchronize(stream));
    EXPECT(out.values()[0] == 7);
    if (runs_late() || runs_early()) EXPECT(saw.values()[0] == 1);  // by chance, under the other seeds
  });
}

}  // namespace m2::test
