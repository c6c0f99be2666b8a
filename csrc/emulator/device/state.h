// What runs: a kernel's grid is cut into groups of blocks that are resident together (one block; a cluster; the whole grid of a cooperative launch). A
// group runs on one of the host's threads, its CUDA threads as fibers of that; so nothing in here is locked.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "emulator/device/fiber.h"
#include "emulator/device/random.h"
#include "emulator/device/shared_memory.h"
#include "emulator/language/vector_types.h"
#include "emulator/site.h"

namespace m2::emulator {

struct Thread;
struct Warp;
struct Block;
struct Group;
struct Wgmmas;

// What a launch asks for. body calls the kernel with a copy of its arguments.
struct Kernel {
  std::string name;
  dim3 grid, block, cluster;
  size_t shared = 0;
  bool cooperative = false, overlaps = false;  // overlaps: may begin before the kernel in front of it has ended
  std::function<void()> body;
  std::vector<const void*> pointers;  // those of its arguments that are pointers

  unsigned threads() const { return block.x * block.y * block.z; }
  size_t blocks() const { return size_t{grid.x} * grid.y * grid.z; }
  unsigned cluster_blocks() const { return cluster.x * cluster.y * cluster.z; }
  size_t group_blocks() const { return cooperative ? blocks() : cluster_blocks(); }
  size_t groups() const { return blocks() / group_blocks(); }
};

// cp.async
struct AsyncCopy {
  uint8_t* destination;
  const void* source;
  int bytes, source_bytes;
};

// A bulk copy out of shared memory. It has three stages: issued, source read, destination written.
struct BulkStore {
  std::function<void()> read, write;
  bool is_read = false;
};

// An mbarrier's own state; in shared memory there is only a mark that it is one.
struct MBarrier {
  uint32_t offset;
  int expected, pending;
  int64_t bytes;       // the transaction count: announced and not yet arrived
  unsigned phase;
  Thread* initialised_by;
  bool announced;      // its initialisation was fenced for the others of the cluster and the copy engine
  struct Waiter {
    Thread* thread;
    unsigned phase;
  };
  std::vector<Waiter> waiting;
};

enum class ThreadState : uint8_t { kReady, kRunning, kBlocked, kPolling, kEnded };

struct Thread {
  Context context;
  Stack stack;
  uint3 index;
  unsigned linear, lane;
  Warp* warp;
  Block* block;
  ThreadState state;
  unsigned unswitched;  // atomic operations since it was switched to

  // What it waits for, for reports.
  const char* waits_for;
  uint64_t wait_detail;
  Site site;

  void* arguments;                    // of the warp collective it is in
  std::vector<AsyncCopy> copies;      // cp.async, in the order of issue; the first copies_done are complete
  std::vector<size_t> copy_groups;    // how many copies were issued when each group that is in flight was committed
  size_t copies_done;
  std::vector<std::shared_ptr<BulkStore>> bulk_stores;  // in the order of issue, until they are written
  std::vector<size_t> bulk_groups;                      // as copy_groups
  unsigned cluster_phase;
  bool cluster_arrived;

  void begin();
};

// Lanes of a mask that come together. Masks in flight at the same time share no lane, so a collective is kept under its mask's lowest lane.
struct Collective {
  uint32_t mask, arrived;
  const char* name;
  uint64_t detail;  // immediate operands: the same in all lanes
  Site site;
};

struct Warp {
  Block* block;
  unsigned index;            // in the block
  unsigned rank;             // in the group's order of scheduling
  unsigned rotation;         // which lane is first in that order
  uint32_t all, ended, ready;
  Thread* threads[32];
  Collective collectives[32];
  std::shared_ptr<Wgmmas> wgmmas;  // made by the first of them
};

struct Barrier {
  int expected, arrived, sum;   // sum: of the predicates of a reduction
  int last_sum, last_arrived;   // when it was full last
  std::vector<Thread*> waiting;
};

struct Block {
  uint3 index;
  unsigned rank;  // in its cluster
  unsigned first_of_cluster;  // index in the group's blocks
  Group* group;
  std::vector<std::unique_ptr<Warp>> warps;
  unsigned warp_count, alive;
  Barrier barriers[16];
  SharedMemory shared;
  std::vector<MBarrier> mbarriers;
  int bulk_copies;         // into its shared memory, under way
  bool lets_next_start;
  int free_registers;      // of the multiprocessor's, for setmaxnreg
  std::vector<int> registers_of;          // per thread, by warpgroup
  std::vector<Thread*> wait_for_registers;
};

// barrier.cluster of the blocks of a cluster.
struct ClusterBarrier {
  unsigned arrived = 0, phase = 0;
  std::vector<Thread*> waiting;
};

// How a group's threads are chosen from those that could run.
enum class Order { kForward, kBackward, kShuffled, kRandom };
// When an asynchronous operation is complete: as late as it may, at once, or either by chance.
enum class Completion { kLate, kEarly, kRandom };

// One launch of a kernel, shared by the host's threads that run its groups.
struct Launch {
  const Kernel* kernel = nullptr;
  uint64_t seed = 0, ordinal = 0;
  Order order = Order::kForward;
  Completion completion = Completion::kLate;
  std::atomic<bool> failed{false};
  bool previous_done = true;  // the kernel in front of this one has ended
  std::string report;  // written by who sets failed first
  std::vector<std::pair<const char*, const void*>> blamed;
};

struct Worker;

// kHeld: it stands where it has let the next kernel start. kStalled: nobody can go on before the kernel in front has ended.
enum class GroupState { kRunning, kHeld, kStalled, kEnded, kFailed };

struct Group {
  Worker* worker;
  Launch* launch;
  std::vector<std::unique_ptr<Block>> blocks;
  size_t block_count;
  unsigned alive;  // threads
  GroupState state;
  Random random;
  std::vector<Warp*> by_rank;
  std::vector<uint64_t> ready;  // a bit for each rank with a lane that can run
  std::vector<Thread*> polling;
  std::vector<Thread*> waiting_for_kernel;
  std::vector<std::function<void()>> async;     // operations under way
  std::vector<ClusterBarrier> cluster_barriers;  // one for each cluster
  bool holds;  // stop where all blocks have let the next kernel start
  uint64_t progress;

  Completion completion() const { return launch->completion; }
};

// One of the host's threads while it runs groups, and what it keeps between launches.
struct Worker {
  Context context;
  std::vector<std::unique_ptr<Thread>> free_threads;
  std::vector<std::unique_ptr<Group>> free_groups;
};

// The CUDA thread that is running, or nullptr in the host's own code.
extern constinit thread_local __attribute__((tls_model("initial-exec"))) Thread* self;

}  // namespace m2::emulator
