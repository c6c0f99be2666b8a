// Fibers: a flow of control with a stack of its own, switched to by hand. A switch saves what the calling convention wants saved and nothing else;
// swapcontext() would make a system call each time, and a kernel switches millions of times.
#pragma once
#include <cstddef>

namespace m2::emulator {

// Where a flow of control stands while another one runs.
struct Context {
  void* stack_pointer = nullptr;
  const char* stack_bottom = nullptr;
  size_t stack_bytes = 0;
  void* asan_stack = nullptr;  // AddressSanitizer's own stack of it
  void* tsan_fiber = nullptr;  // ThreadSanitizer's name for it
};

// A stack with a page below it that faults.
class Stack {
 public:
  Stack();
  ~Stack();
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  char* bottom() const { return bottom_; }
  static size_t bytes();
  // Whether an address lies in the stack or in the page below it.
  bool holds(const void* address) const;

 private:
  char* bottom_;
};

// The context becomes one that calls `entry` on the stack, whatever ran there before. entry never returns.
void start_context(Context&, const Stack&, void (*entry)());
// Fills in the stack of the running thread, so that fibers can switch back to it.
void adopt_thread(Context&);
// Goes from the running context to another one. ends: nobody will switch back.
void switch_context(Context& from, Context& to, bool ends = false);
// The first thing that runs in a new context.
void arrived_in_context();
void free_context(Context&);

}  // namespace m2::emulator
