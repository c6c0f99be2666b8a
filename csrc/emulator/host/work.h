// What a stream runs, in the order in which it was given it.
#pragma once
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <variant>
#include <vector>

#include "emulator/device/state.h"
#include "emulator/host/types.h"

namespace m2::emulator {

struct Capture;
struct Event;
struct GraphExec;
struct Stream;

struct KernelWork {
  std::shared_ptr<const Kernel> kernel;
};
struct CopyWork {
  void* to;
  const void* from;
  size_t bytes;
  bool to_host, from_host;
  std::shared_ptr<const std::vector<uint8_t>> staged;  // of a pageable source: its bytes when the call was made
  bool watched;  // of a pinned source: nobody is to change it before the copy has run
  uint64_t hash;
  Site site;
};
struct FillWork {
  void* to;
  int value;
  size_t bytes;
  Site site;
};
struct HostWork {
  cudaHostFn_t function;
  void* data;
};
struct RecordWork {
  std::shared_ptr<Event> event;
};
struct WaitWork {};  // only waits for what it comes after
struct GraphWork {
  std::shared_ptr<const GraphExec> exec;
};
using Work = std::variant<WaitWork, KernelWork, CopyWork, FillWork, HostWork, RecordWork, GraphWork>;

// A stream's work up to and including that number.
struct Point {
  std::shared_ptr<Stream> stream;
  uint64_t number = 0;

  bool passed() const;
};

struct Queued {
  Work work;
  uint64_t number;
  std::vector<Point> after;
};

struct Stream {
  bool legacy = false, blocking = true;  // blocking: waits for the legacy stream and is waited for
  std::deque<Queued> queue;
  uint64_t issued = 0, done = 0;

  std::shared_ptr<Capture> capture;
  std::vector<size_t> captured;  // nodes of the capture that this stream's next one comes after
};

inline bool Point::passed() const { return !stream || stream->done >= number; }

struct Event {
  bool timing = true;
  Point point;                    // of the last record
  uint64_t recorded = 0;
  std::chrono::steady_clock::time_point time{};
  std::shared_ptr<Capture> capture;  // recorded in a capture
  std::vector<size_t> captured;
};

// Work and what it comes after, all of them in front of it.
struct Node {
  Work work;
  std::vector<size_t> after;
};
struct Graph {
  std::vector<Node> nodes;
};
struct GraphExec {
  std::vector<Node> nodes;
};

}  // namespace m2::emulator
