// The trace: what a build with M2_TRACED knows of every load and store of the kernels, plain ones too. From it follow races (accesses that nothing
// orders, whatever order they ran in here), accesses outside any allocation, and how many bytes a kernel moves. The device tells it what orders what; in
// other builds these calls are not there.
//
// What orders: barriers, __syncwarp, mbarriers, waits for one's own asynchronous copies and products, the order of a stream, griddepcontrol.wait; atomics
// with acquire and release, and relaxed ones between fences. The fences may be those of the threads that write and read, with a barrier between them and
// the atomics: PTX asks for them in the very thread of the atomic, but all hardware and much code take it so. Shuffles, votes and mma order nothing. What
// threads wrote reaches the copy engine and wgmma only behind fence.proxy.async and an order behind that.
#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include "emulator/trace/clocks.h"
#include "emulator/trace/shadow.h"

namespace m2::emulator {

struct Block;
struct Group;
struct Launch;
struct Thread;
struct Warp;

namespace trace {

// Calls of the trace stand in M2_TRACE(..), and its state is Traced<..>; in other builds they are nothing.
struct Nothing {};
#ifdef M2_TRACED
#define M2_TRACE(...) __VA_ARGS__;
template <class T>
using Traced = T;
#else
#define M2_TRACE(...)
template <class T>
using Traced = Nothing;
#endif

// What somebody knows, and what of it has been fenced for the copy engine, released by fences for atomics behind them, and heard from atomics for fences
// behind those.
struct Clocks {
  Clock known, fenced, released, heard;
  Clock released_in_block, heard_in_block;  // by fences of that scope; barriers have no need of them
};
// The same on its way through a barrier or an atomic variable.
struct Order {
  SyncPoint known, fenced, released, heard;
};
struct Messages {
  Message known, fenced, released, heard;
};

// The component of one asynchronous operation. Components are used again, but only by those who set off the last one, and not soon: whoever knows of a
// later operation is taken to know of the earlier ones.
struct Engine {
  uint32_t component = 0, count = 0, epoch = 0;
};
using FreeEngines = std::deque<Engine>;

struct ThreadClocks {
  uint32_t component = 0, count = 0, epoch = 0;  // epoch 0: none since the last count
  Clocks clocks;
  uint32_t copies = 0, copies_count = 0, copies_epoch = 0;  // the component of its cp.async, 0: none yet
  std::vector<uint32_t> copy_groups;                        // in flight: their counts
  const void* code = nullptr;                               // where the instruction at hand was called
  FreeEngines free_engines;
  int inside = 1;                                           // depth of the emulator's own functions
};

struct GroupClocks {
  uint32_t index = 0, components = 0;
};

// An atomic variable: releases at the scope of the device, and of blocks.
struct AtomicPlace {
  Order device;
  std::unordered_map<uint64_t, Order> in_block;
};

struct LaunchClocks {
  uint32_t operation = 0;
  std::vector<uint32_t> chunks;  // of epochs; the last one is being filled
  uint32_t used = 0;
  std::unordered_map<const volatile void*, AtomicPlace> atomics;
  struct Traffic* traffic = nullptr;
  uint64_t launch = 0;
};

void begin_group(Group&, size_t index);
void begin_block(Block&);
void begin_thread(Thread&);

// Accesses of the running thread.
void read(const void* address, size_t bytes);
void write(const void* address, size_t bytes);
// By the running lane for its warp: ldmatrix, which reads for all lanes together. Each of them knows of it when the instruction is over.
void read_for_warp(const void* address, size_t bytes);
void warp_has_read(Warp&);
// An mbarrier is used: its users do not race with each other, but with whoever initialises it.
void use(const void* address, size_t bytes);
enum class Atomic { kLoad, kStore, kChange };
enum class Semantics { kRelaxed, kAcquire, kRelease, kBoth };
void atomic(const volatile void* address, size_t bytes, Atomic, Semantics);
// Stands at the beginning of each function that device code calls: what runs inside is not the kernel's, though it may share instances of templates with
// it that the compiler has put traces into; and here is where the instruction at hand stands.
class Inside {
 public:
  explicit Inside(const void* code);
  ~Inside();
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
};
#ifdef M2_TRACED
#define M2_ENTER const trace::Inside inside(__builtin_return_address(0));
#else
#define M2_ENTER
#endif

// Barriers: each arrives; when all have come the messages are taken, and each gets them.
void arrive(Order&);
Messages take(Order&);
void leave(Thread&, const Messages&, bool took_part);
void meet(Warp&, uint32_t mask);  // a barrier of lanes
void fence(bool of_block);
void fence_for_engines();
void previous_kernel_ended();

// cp.async: the copies of a thread are one component, which counts its groups.
void copy_issued(const void* destination, size_t bytes, const void* source, size_t source_bytes);
void copies_committed();
void copies_waited(size_t in_flight);  // so many groups still are
void all_copies_waited();
uint32_t copies_to_arrive(Thread&);  // the count of all of the thread's so far
void copies_arrive(Thread&, uint32_t count, Order&);

// The copy engine and wgmma. Their accesses are judged when they are issued, by what the issuing threads know; who waits learns of the engine.
Engine begin_engine(FreeEngines&);
void engine_reads(const Engine&, const void* address, size_t bytes);
void engine_writes(const Engine&, const void* address, size_t bytes, bool atomic = false);
void engine_reads(Warp&, const Engine&, const void* address, size_t bytes);  // issued by a warp together
void engine_arrives(Group&, const Engine&, Order&);
void engine_waited(Thread&, const Engine&);
void end_engine(FreeEngines&, const Engine&);

}  // namespace trace
}  // namespace m2::emulator
