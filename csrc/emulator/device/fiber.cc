#include "emulator/device/fiber.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#include "emulator/device/sanitizers.h"

extern "C" void m2_emulator_switch(void** save, void* stack_pointer);

#if defined(__x86_64__)
asm(R"(
.text
.type m2_emulator_switch,@function
m2_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size m2_emulator_switch, .-m2_emulator_switch
)");
#elif defined(__aarch64__)
asm(R"(
.text
.type m2_emulator_switch,%function
m2_emulator_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size m2_emulator_switch, .-m2_emulator_switch
)");
#else
#error "the emulator switches fibers on x86-64 and aarch64 only"
#endif

namespace m2::emulator {
namespace {

// The words that a switch to a new context pops: registers, then where to go. The stack is aligned as after a call.
void* first_frame(char* top, void (*entry)()) {
  void** frame = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(top) & ~uintptr_t{15});
#if defined(__x86_64__)
  *--frame = nullptr;  // where entry would return to
  *--frame = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; i++) *--frame = nullptr;
#else
  frame -= 20;
  for (int i = 0; i < 20; i++) frame[i] = nullptr;
  frame[11] = reinterpret_cast<void*>(entry);  // x30
#endif
  return frame;
}

}  // namespace

size_t Stack::bytes() { return M2_ASAN || M2_TSAN ? 256 << 10 : 64 << 10; }

namespace {
size_t page_bytes() {
  static const size_t bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}
}  // namespace

Stack::Stack() {
  void* mapping = mmap(nullptr, bytes() + page_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  mprotect(mapping, page_bytes(), PROT_NONE);
  bottom_ = static_cast<char*>(mapping) + page_bytes();
}

Stack::~Stack() { munmap(bottom_ - page_bytes(), bytes() + page_bytes()); }

bool Stack::holds(const void* address) const {
  const char* p = static_cast<const char*>(address);
  return p >= bottom_ - page_bytes() && p < bottom_ + bytes();
}

void start_context(Context& context, const Stack& stack, void (*entry)()) {
  context.stack_bottom = stack.bottom();
  context.stack_bytes = Stack::bytes();
  context.asan_stack = nullptr;
#if M2_ASAN
  __asan_unpoison_memory_region(stack.bottom(), Stack::bytes());
#endif
#if M2_TSAN
  if (!context.tsan_fiber) context.tsan_fiber = __tsan_create_fiber(0);
#endif
  context.stack_pointer = first_frame(stack.bottom() + Stack::bytes(), entry);
}

void adopt_thread(Context& context) {
#if M2_ASAN
  pthread_attr_t attributes;
  void* bottom = nullptr;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &bottom, &context.stack_bytes);
  pthread_attr_destroy(&attributes);
  context.stack_bottom = static_cast<const char*>(bottom);
#endif
#if M2_TSAN
  context.tsan_fiber = __tsan_get_current_fiber();
#endif
  context.asan_stack = nullptr;
}

void switch_context(Context& from, Context& to, [[maybe_unused]] bool ends) {
#if M2_ASAN
  __sanitizer_start_switch_fiber(ends ? nullptr : &from.asan_stack, to.stack_bottom, to.stack_bytes);
#endif
#if M2_TSAN
  __tsan_switch_to_fiber(to.tsan_fiber, 0);
#endif
  m2_emulator_switch(&from.stack_pointer, to.stack_pointer);
#if M2_ASAN
  __sanitizer_finish_switch_fiber(from.asan_stack, nullptr, nullptr);
#endif
}

void arrived_in_context() {
#if M2_ASAN
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

void free_context([[maybe_unused]] Context& context) {
#if M2_TSAN
  if (context.tsan_fiber) __tsan_destroy_fiber(context.tsan_fiber);
  context.tsan_fiber = nullptr;
#endif
}

}  // namespace m2::emulator
