#include "emulator/device/scheduler.h"

#include <algorithm>
#include <bit>
#include <cstdarg>
#include <cstdio>
#include <map>
#include <mutex>
#include <stdexcept>

#include "emulator/device/sanitizers.h"
#include "emulator/instructions.h"
#include "emulator/language/builtins.h"
#include "emulator/settings.h"
#include "emulator/sites.h"

#define M2_BUILTIN_VARIABLE constinit thread_local __attribute__((tls_model("initial-exec")))
M2_BUILTIN_VARIABLE uint3 threadIdx{};
M2_BUILTIN_VARIABLE uint3 blockIdx{};
M2_BUILTIN_VARIABLE dim3 blockDim{0, 0, 0};
M2_BUILTIN_VARIABLE dim3 gridDim{0, 0, 0};

namespace m2::emulator {

M2_BUILTIN_VARIABLE Thread* self = nullptr;

namespace {

constexpr uint64_t kIdleRounds = 20000;    // rounds of polling in which nothing happened
constexpr uint64_t kRoundsBeforeStall = 8;  // of polling, where some wait for the kernel in front
constexpr unsigned kAtomicsInARow = 256;   // then a thread is taken to be waiting for somebody

Thread* next_thread(Group& g) {
  const Order order = g.launch->order;
  size_t word = 0;
  const size_t words = g.ready.size();
  if (order == Order::kRandom && words > 1) {
    const size_t start = g.random.below(words);
    for (size_t i = 0; i < words && !g.ready[word = (start + i) % words]; i++) {
    }
  } else {
    while (word + 1 < words && !g.ready[word]) word++;
  }
  if (!g.ready[word]) return nullptr;
  unsigned bit = static_cast<unsigned>(std::countr_zero(g.ready[word]));
  if (order == Order::kRandom) {
    const int turn = static_cast<int>(g.random.below(64));
    bit = (static_cast<unsigned>(std::countr_zero(std::rotr(g.ready[word], turn))) + turn) % 64;
  }
  Warp& warp = *g.by_rank[word * 64 + bit];
  const int turn = order == Order::kRandom ? static_cast<int>(g.random.below(32)) : static_cast<int>(warp.rotation);
  const unsigned lane = order == Order::kBackward ? 31u - static_cast<unsigned>(std::countl_zero(warp.ready))
                                                  : (static_cast<unsigned>(std::countr_zero(std::rotr(warp.ready, turn))) + turn) % 32;
  warp.ready &= ~(1u << lane);
  if (!warp.ready) g.ready[word] &= ~(uint64_t{1} << bit);
  return warp.threads[lane];
}

void enter(Thread& t) {
  t.state = ThreadState::kRunning;
  t.unswitched = 0;
  self = &t;
  threadIdx = t.index;
  blockIdx = t.block->index;
}

// From the running thread to the next one that can run, or to the worker.
void switch_away(bool ends = false) {
  Thread& me = *self;
  Group& g = *me.block->group;
  if (!g.async.empty() && g.completion() == Completion::kRandom && g.random.one_in(16)) complete_async(g, g.random.below(g.async.size()));
  Thread* next = next_thread(g);
  if (next == &me) {  // goes on counting its atomics: one that the order puts first would otherwise spin for good
    me.state = ThreadState::kRunning;
    return;
  }
  if (next) enter(*next);
  else self = nullptr;
  switch_context(me.context, next ? next->context : g.worker->context, ends);
}

void end_thread(Thread& t) {
  Warp& warp = *t.warp;
  Block& block = *t.block;
  Group& g = *block.group;
  warp.ended |= 1u << t.lane;
  for (const Collective& c : warp.collectives) {
    if (c.arrived && (c.mask & warp.ended)) fail("a lane ends while its warp waits for it in %s (mask %08x, %s:%u)", c.name, c.mask, c.site.file, c.site.line);
  }
  complete_all_copies(t);
  bulk_stores_after_end(t);
  if (warp.ended == warp.all) wgmmas_after_end(warp);
  t.state = ThreadState::kEnded;
  block.alive--;
  g.alive--;
  g.progress++;
  if (block.alive == 0 && block.bulk_copies > 0) fail("a block ends with %d bulk copies into or out of its shared memory under way", block.bulk_copies);
  barriers_after_end(block);
  cluster_after_end(block);
}

void thread_main() {
  arrived_in_context();
  try {
    M2_TRACE(self->clocks.inside = 0)
    self->block->group->launch->kernel->body();
    M2_TRACE(self->clocks.inside = 1)
  } catch (const std::exception& error) {
    fail("an exception left the kernel: %s", error.what());
  }
  end_thread(*self);
  switch_away(true);
}

std::string stuck(Group& g, const char* what) {
  std::string text = what;
  std::map<std::string, int> waits;
  for (size_t b = 0; b < g.block_count; b++) {
    for (unsigned w = 0; w < g.blocks[b]->warp_count; w++) {
      for (Thread* t : g.blocks[b]->warps[w]->threads) {
        if (!t || t->state == ThreadState::kEnded) continue;
        char wait[200];
        std::snprintf(wait, sizeof wait, "%s 0x%llx at %s:%u", t->waits_for, static_cast<unsigned long long>(t->wait_detail), t->site.file, t->site.line);
        if (waits[wait]++ == 0) {
          text += "\n  ";
          describe(text, *t);
          text += std::string(": ") + wait;
        }
      }
    }
  }
  for (const auto& [wait, count] : waits) text += "\n  " + std::to_string(count) + " threads: " + wait;
  return text;
}

}  // namespace

void Thread::begin() {
  state = ThreadState::kReady;
  waits_for = "";
  wait_detail = 0;
  site = {};
  copies.clear();
  copy_groups.clear();
  copies_done = 0;
  bulk_stores.clear();
  bulk_groups.clear();
  cluster_phase = 0;
  cluster_arrived = false;
}

void complete_async(Group& g, size_t index) {
  const std::function<void()> operation = std::move(g.async[index]);
  g.async[index] = std::move(g.async.back());
  g.async.pop_back();
  g.progress++;
  operation();
}

void start_async(std::function<void()> operation) {
  Group& g = group();
  g.async.push_back(std::move(operation));
  if (g.completion() == Completion::kEarly || (g.completion() == Completion::kRandom && g.random.one_in(2))) complete_async(g, g.async.size() - 1);
}

bool lets_next_start(const Group& g) {
  return std::all_of(g.blocks.begin(), g.blocks.begin() + static_cast<ptrdiff_t>(g.block_count),
                     [](const auto& block) { return block->lets_next_start || block->alive == 0; });
}

void wait_for_previous_kernel(Site site) {
  M2_ENTER
  if (skips("griddepcontrol.wait", site) || settings().architecture < 90) return;
  Group& g = group();
  if (!g.launch->previous_done) {
    g.waiting_for_kernel.push_back(self);
    wait_until_ready("griddepcontrol.wait", 0, site);
  }
  M2_TRACE(trace::previous_kernel_ended())
}

void let_next_kernel_start(Site site) {
  M2_ENTER
  if (skips("griddepcontrol.launch_dependents", site) || settings().architecture < 90) return;
  Group& g = group();
  self->block->lets_next_start = true;
  if (!g.holds || !lets_next_start(g)) return;
  g.holds = false;
  g.state = GroupState::kHeld;
  Thread& me = *self;
  make_ready(me);
  self = nullptr;
  switch_context(me.context, g.worker->context);
}

void make_ready(Thread& t) {
  Group& g = *t.block->group;
  t.state = ThreadState::kReady;
  t.warp->ready |= 1u << t.lane;
  g.ready[t.warp->rank / 64] |= uint64_t{1} << t.warp->rank % 64;
  g.progress++;
}

void wait_until_ready(const char* what, uint64_t detail, Site site) {
  self->state = ThreadState::kBlocked;
  self->waits_for = what;
  self->wait_detail = detail;
  self->site = site;
  switch_away();
}

void poll(const char* what, uint64_t detail, Site site) {
  self->state = ThreadState::kPolling;
  self->waits_for = what;
  self->wait_detail = detail;
  self->site = site;
  group().polling.push_back(self);
  switch_away();
}

void preempt() {
  Group& g = group();
  if (g.launch->order == Order::kForward || (g.launch->order == Order::kRandom && !g.random.one_in(4))) return;
  const uint64_t progress = g.progress;
  make_ready(*self);
  g.progress = progress;
  switch_away();
}

void poll() {
  M2_ENTER
  poll("polling", 0, {});
}
void sleep() {
  M2_ENTER
  poll("__nanosleep", 0, {});
}

void preempt_before_atomic() {
  if (++self->unswitched > kAtomicsInARow) poll("atomics in a row", 0, {});
  else preempt();
}

void before_atomic([[maybe_unused]] const volatile void* address, [[maybe_unused]] size_t bytes) {
  M2_ENTER
  if (!self) return;  // the host's own use of the header
  preempt_before_atomic();
  M2_TRACE(trace::atomic(address, bytes, trace::Atomic::kChange, trace::Semantics::kRelaxed))
}

int64_t device_clock() {
  M2_ENTER
  return static_cast<int64_t>(group().progress);
}

void describe(std::string& text, const Thread& t) {
  char line[160];
  const uint3 b = t.block->index;
  std::snprintf(line, sizeof line, "block (%u,%u,%u) thread (%u,%u,%u), warp %u lane %u", b.x, b.y, b.z, t.index.x, t.index.y, t.index.z, t.warp->index, t.lane);
  text += line;
}

namespace {
std::mutex failure_mutex;
}

void blame(Launch& launch, const char* what, const void* pc) {
  const std::lock_guard lock(failure_mutex);
  if (!launch.failed.load()) launch.blamed.emplace_back(what, pc);
}

void record_failure(Launch& launch, const std::string& text) {
  const std::lock_guard lock(failure_mutex);
  if (launch.failed.load()) return;
  const Kernel& k = *launch.kernel;
  char head[200];
  std::snprintf(head, sizeof head, "<<<(%u,%u,%u), (%u,%u,%u), %zu>>>, seed %llu: ", k.grid.x, k.grid.y, k.grid.z, k.block.x, k.block.y, k.block.z, k.shared,
                static_cast<unsigned long long>(launch.seed));
  launch.report = k.name + head + text;
  launch.failed.store(true);
}

namespace {

thread_local bool in_operation = false;  // an asynchronous one, run by the worker

struct OperationFailed {
  std::string text;
};

}  // namespace

void fail_with(std::string text) {
  M2_ENTER
  if (in_operation) throw OperationFailed{std::move(text)};
  if (!self) throw std::logic_error("emulator: device code runs on the host: " + text);
  Thread& me = *self;
  Group& g = group();
  text += "\n  ";
  describe(text, me);
  record_failure(*g.launch, text);
  std::string().swap(text);  // nobody runs the destructors of a stack that is dropped
  g.state = GroupState::kFailed;
  self = nullptr;
  switch_context(me.context, g.worker->context, true);
  __builtin_unreachable();
}

void fail(const char* format, ...) {
  M2_ENTER
  char message[1024];
  va_list list;
  va_start(list, format);
  std::vsnprintf(message, sizeof message, format, list);
  va_end(list);
  fail_with(message);
}

uint3 block_index(const Kernel& k, size_t nth) {
  const unsigned rank = static_cast<unsigned>(nth % k.cluster_blocks());
  const size_t cluster = nth / k.cluster_blocks();
  const dim3 clusters(k.grid.x / k.cluster.x, k.grid.y / k.cluster.y, k.grid.z / k.cluster.z);
  return {static_cast<unsigned>(cluster % clusters.x) * k.cluster.x + rank % k.cluster.x,
          static_cast<unsigned>(cluster / clusters.x % clusters.y) * k.cluster.y + rank / k.cluster.x % k.cluster.y,
          static_cast<unsigned>(cluster / clusters.x / clusters.y) * k.cluster.z + rank / k.cluster.x / k.cluster.y};
}

namespace {

void place_blocks(Group& g, size_t index) {
  const Kernel& k = *g.launch->kernel;
  const unsigned per_cluster = k.cluster_blocks();
  g.block_count = k.group_blocks();
  while (g.blocks.size() < g.block_count) g.blocks.push_back(std::make_unique<Block>());
  for (size_t i = 0; i < g.block_count; i++) {
    Block& b = *g.blocks[i];
    b.rank = static_cast<unsigned>(i % per_cluster);
    b.first_of_cluster = static_cast<unsigned>(i - b.rank);
    b.group = &g;
    b.index = block_index(k, index * g.block_count + i);
    b.alive = k.threads();
    b.warp_count = (k.threads() + 31) / 32;
    b.lets_next_start = false;
    b.mbarriers.clear();
    b.bulk_copies = 0;
    b.wait_for_registers.clear();
    b.registers_of.clear();
    for (Barrier& barrier : b.barriers) {
      barrier.expected = barrier.arrived = barrier.sum = 0;
      barrier.waiting.clear();
      M2_TRACE(barrier.order = {})
    }
    b.shared.open(k.shared);
    M2_TRACE(trace::begin_block(b))
  }
}

void place_threads(Block& b) {
  Group& g = *b.group;
  const dim3 shape = g.launch->kernel->block;
  std::vector<std::unique_ptr<Thread>>& pool = g.worker->free_threads;
  while (b.warps.size() < b.warp_count) b.warps.push_back(std::make_unique<Warp>());
  for (unsigned w = 0; w < b.warp_count; w++) {
    Warp& warp = *b.warps[w];
    warp = Warp{};
    warp.block = &b;
    warp.index = w;
    warp.rank = static_cast<unsigned>(g.by_rank.size());
    warp.rotation = g.launch->order == Order::kShuffled ? static_cast<unsigned>(g.random.below(32)) : 0;
    g.by_rank.push_back(&warp);
    for (unsigned lane = 0; lane < 32 && w * 32 + lane < shape.x * shape.y * shape.z; lane++) {
      if (pool.empty()) pool.push_back(std::make_unique<Thread>());
      Thread& t = *pool.back().release();
      pool.pop_back();
      t.linear = w * 32 + lane;
      t.lane = lane;
      t.index = {t.linear % shape.x, t.linear / shape.x % shape.y, t.linear / shape.x / shape.y};
      t.warp = &warp;
      t.block = &b;
      t.begin();
      M2_TRACE(trace::begin_thread(t))
      start_context(t.context, t.stack, thread_main);
      warp.threads[lane] = &t;
      warp.all |= 1u << lane;
    }
    warp.ready = warp.all;
  }
}

}  // namespace

Group& open_group(Worker& worker, Launch& launch, size_t index) {
  if (worker.free_groups.empty()) worker.free_groups.push_back(std::make_unique<Group>());
  Group& g = *worker.free_groups.back().release();
  worker.free_groups.pop_back();
  g.worker = &worker;
  g.launch = &launch;
  g.state = GroupState::kRunning;
  g.random = Random(mix(launch.seed) ^ mix(launch.ordinal * 0x10001 + index));
  g.progress = 0;
  g.holds = false;
  g.by_rank.clear();
  g.polling.clear();
  g.waiting_for_kernel.clear();
  g.async.clear();
  g.cluster_barriers.assign(launch.kernel->group_blocks() / launch.kernel->cluster_blocks(), {});
  M2_TRACE(trace::begin_group(g, index))
  place_blocks(g, index);
  g.alive = 0;
  for (size_t i = 0; i < g.block_count; i++) {
    place_threads(*g.blocks[i]);
    g.alive += g.blocks[i]->alive;
  }
  const size_t warps = g.by_rank.size();
  if (launch.order == Order::kBackward) std::reverse(g.by_rank.begin(), g.by_rank.end());
  if (launch.order == Order::kShuffled) {
    for (size_t i = warps; i > 1; i--) std::swap(g.by_rank[i - 1], g.by_rank[g.random.below(i)]);
  }
  g.ready.assign((warps + 63) / 64, 0);
  for (size_t i = 0; i < warps; i++) {
    g.by_rank[i]->rank = static_cast<unsigned>(i);
    g.ready[i / 64] |= uint64_t{1} << i % 64;
  }
  return g;
}

namespace {

void fail_group(Group& g, const std::string& text) {
  record_failure(*g.launch, text);
  g.state = GroupState::kFailed;
}

// Nobody can run: operations complete, then those who poll look again. False: that is all there is to do.
bool go_on(Group& g, uint64_t& seen, uint64_t& idle) {
  if (g.alive == 0 && g.async.empty()) {
    g.state = GroupState::kEnded;
    return false;
  }
  if (!g.waiting_for_kernel.empty() && g.launch->previous_done) {
    for (Thread* t : g.waiting_for_kernel) make_ready(*t);
    g.waiting_for_kernel.clear();
    return true;
  }
  idle = g.progress == seen ? idle + 1 : 0;
  if (!g.waiting_for_kernel.empty() && (g.polling.empty() || idle > kRoundsBeforeStall)) {
    g.state = GroupState::kStalled;
    return false;
  }
  if (!g.async.empty()) {
    in_operation = true;
    try {
      complete_async(g, g.random.below(g.async.size()));
    } catch (const OperationFailed& failed) {
      fail_group(g, failed.text);
    }
    in_operation = false;
    return g.state == GroupState::kRunning;
  }
  if (g.polling.empty()) {
    fail_group(g, stuck(g, "deadlock: no thread can run"));
    return false;
  }
  if (idle > kIdleRounds) {
    fail_group(g, stuck(g, "livelock: every thread that runs polls, and nothing changes (blocks of other groups are not resident)"));
    return false;
  }
  seen = g.progress;
  std::vector<Thread*> polling;
  polling.swap(g.polling);
  for (Thread* t : polling) make_ready(*t);
  seen += polling.size();  // which is no progress
  return true;
}

void check_ended_group(Group& g) {
  for (size_t b = 0; b < g.block_count; b++) {
    const char* piece = g.blocks[b]->shared.close();
    if (!piece) continue;
    const uint3 at = g.blocks[b]->index;
    return fail_group(g, "block (" + std::to_string(at.x) + "," + std::to_string(at.y) + "," + std::to_string(at.z) +
                             ") wrote in front of or behind its shared array \"" + piece + "\"");
  }
}

}  // namespace

void run_group(Group& g) {
  blockDim = g.launch->kernel->block;
  gridDim = g.launch->kernel->grid;
  g.state = GroupState::kRunning;
  uint64_t seen = ~uint64_t{0}, idle = 0;
  while (g.state == GroupState::kRunning) {
    if (Thread* next = next_thread(g)) {
      enter(*next);
      switch_context(g.worker->context, next->context);
    } else if (!go_on(g, seen, idle)) {
      break;
    }
  }
  if (g.state == GroupState::kEnded) check_ended_group(g);
}

void close_group(Group& g) {
  for (size_t i = 0; i < g.block_count; i++) {
    Block& b = *g.blocks[i];
    b.shared.close();
    for (unsigned w = 0; w < b.warp_count; w++) {
      for (Thread* t : b.warps[w]->threads) {
        if (!t) continue;
        if (g.state == GroupState::kFailed) free_context(t->context);
        g.worker->free_threads.emplace_back(t);
      }
    }
  }
  g.worker->free_groups.emplace_back(&g);
}

}  // namespace m2::emulator
