// Runs groups of blocks: which thread runs next is drawn from the launch's seed, threads switch only where they wait, meet or poll.
#pragma once
#include "emulator/device/state.h"

namespace m2::emulator {

Group& open_group(Worker&, Launch&, size_t index);
void run_group(Group&);
void close_group(Group&);

// By the running thread, or for others by it.
void make_ready(Thread&);
void wait_until_ready(const char* what, uint64_t detail, Site);
void poll(const char* what, uint64_t detail, Site);  // everybody else first
void preempt();                                      // others may run first, by chance
inline Group& group() { return *self->block->group; }

void describe(std::string& text, const Thread&);
// fail() with a text that is freed.
[[noreturn]] void fail_with(std::string text);
// The first failure of a launch is its report.
void record_failure(Launch&, const std::string& text);

// What other files do when a thread ends.
void complete_all_copies(Thread&);
void barriers_after_end(Block&);

}  // namespace m2::emulator
