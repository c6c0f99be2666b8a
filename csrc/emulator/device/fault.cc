// The handler runs on a stack of its own. It makes the fiber go on in fault_landed() at the top of its stack, where the launch is failed as by any other
// error: the frames below are dropped anyway. AddressSanitizer has a handler of its own, which says more.
#include "emulator/device/fault.h"

#include <signal.h>
#include <ucontext.h>

#include <cstdint>
#include <cstdlib>
#include <mutex>

#include "emulator/device/sanitizers.h"
#include "emulator/device/scheduler.h"
#include "emulator/host/allocations.h"

namespace m2::emulator {
namespace {

constexpr size_t kSignalStack = 64 << 10;

struct sigaction previous_segv, previous_bus;

struct Fault {
  const void* address;
  const void* pc;
  bool has_address, writes, knows_kind;
};
thread_local Fault fault;

[[noreturn]] void fault_landed() {
  std::string text;
  if (self->stack.holds(fault.address)) {
    text = "a thread used more than its stack of " + std::to_string(Stack::bytes()) + " bytes";
  } else if (!fault.has_address) {
    text = "a misaligned access of a vector, or an address that is none";
  } else {
    char address[40];
    std::snprintf(address, sizeof address, " at %p: ", fault.address);
    text = std::string(!fault.knows_kind ? "an access" : fault.writes ? "a write" : "a read") + " out of bounds" + address + allocations().describe(fault.address);
  }
  blame(*group().launch, "in the code at", fault.pc);
  fail_with(std::move(text));
}

// Where a program stands in a signal's context, and how to have it go on elsewhere.
#if defined(__x86_64__)
void read_context(const ucontext_t& context, const siginfo_t& info, Fault& f) {
  f.pc = reinterpret_cast<const void*>(context.uc_mcontext.gregs[REG_RIP]);
  f.has_address = info.si_code > 0 && info.si_code != SI_KERNEL;  // SI_KERNEL: a fault that has none, as of misaligned vectors
  f.knows_kind = true;
  f.writes = context.uc_mcontext.gregs[REG_ERR] & 2;
}
void go_on_at(ucontext_t& context, void (*function)(), char* stack_top) {
  context.uc_mcontext.gregs[REG_RIP] = reinterpret_cast<greg_t>(function);
  context.uc_mcontext.gregs[REG_RSP] = (reinterpret_cast<greg_t>(stack_top) & ~greg_t{15}) - 8;  // as after a call
}
#else
void read_context(const ucontext_t& context, const siginfo_t& info, Fault& f) {
  f.pc = reinterpret_cast<const void*>(context.uc_mcontext.pc);
  f.has_address = info.si_code > 0;
  f.knows_kind = f.writes = false;
}
void go_on_at(ucontext_t& context, void (*function)(), char* stack_top) {
  context.uc_mcontext.pc = reinterpret_cast<uintptr_t>(function);
  context.uc_mcontext.sp = reinterpret_cast<uintptr_t>(stack_top) & ~uintptr_t{15};
}
#endif

void hand_on(int signal, siginfo_t* info, void* context) {
  const struct sigaction& previous = signal == SIGBUS ? previous_bus : previous_segv;
  if (previous.sa_flags & SA_SIGINFO) return previous.sa_sigaction(signal, info, context);
  if (previous.sa_handler == SIG_IGN) return;
  if (previous.sa_handler != SIG_DFL) return previous.sa_handler(signal);
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  sigaction(signal, &standard, nullptr);  // the access is tried again, and ends the process
}

void on_fault(int signal, siginfo_t* info, void* raw) {
  if (!self) return hand_on(signal, info, raw);
  ucontext_t& context = *static_cast<ucontext_t*>(raw);
  fault = {};
  fault.address = info->si_addr;
  read_context(context, *info, fault);
  go_on_at(context, fault_landed, self->stack.bottom() + Stack::bytes());
}

void install() {
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaction(SIGSEGV, &action, &previous_segv);
  sigaction(SIGBUS, &action, &previous_bus);
}

// A thread's stack for signals, until the thread ends.
struct SignalStack {
  void* memory = nullptr;

  SignalStack() {
    stack_t stack{};
    if (sigaltstack(nullptr, &stack) == 0 && !(stack.ss_flags & SS_DISABLE)) return;  // somebody gave it one
    memory = std::malloc(kSignalStack);
    stack = {};
    stack.ss_sp = memory;
    stack.ss_size = kSignalStack;
    sigaltstack(&stack, nullptr);
  }
  ~SignalStack() {
    if (!memory) return;
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    sigaltstack(&none, nullptr);
    std::free(memory);
  }
};

}  // namespace

void catch_faults() {
  if (M2_ASAN) return;
  static std::once_flag once;
  std::call_once(once, install);
  thread_local SignalStack stack;
}

}  // namespace m2::emulator
