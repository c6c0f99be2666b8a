// Runs groups of blocks: which thread runs next is drawn from the launch's seed, threads switch only where they wait, meet or poll.
#pragma once
#include "emulator/device/state.h"

namespace m2::emulator {

Group& open_group(Worker&, Launch&, size_t index);
// Until it has ended or failed, or cannot or is not to go on.
void run_group(Group&);
void close_group(Group&);
bool lets_next_start(const Group&);  // all of its blocks do, or have ended

// By the running thread, or for others by it.
void make_ready(Thread&);
void wait_until_ready(const char* what, uint64_t detail, Site);
void poll(const char* what, uint64_t detail, Site);  // everybody else first
void preempt();                                      // others may run first, by chance
// Something that completes later: at once, when nobody can run, or in between, as the launch's seed has it.
void start_async(std::function<void()> operation);
void complete_async(Group&, size_t index);
inline Group& group() { return *self->block->group; }

void describe(std::string& text, const Thread&);
// fail() with a text that is freed.
[[noreturn]] void fail_with(std::string text);
// The first failure of a launch is its report.
void record_failure(Launch&, const std::string& text);
// A line of code for the report, looked up when the launch is over. Before the failure is recorded.
void blame(Launch&, const char* what, const void* pc);

// What other files do when a thread ends.
void complete_all_copies(Thread&);
void bulk_stores_after_end(Thread&);
void wgmmas_after_end(Warp&);
void barriers_after_end(Block&);
void cluster_after_end(Block&);

}  // namespace m2::emulator
