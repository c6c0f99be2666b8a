#include "kernels/runs.h"

#ifdef M2_EMULATED
#include "emulator/control.h"
#endif

namespace m2::kernels {

Backend& Runs::backend() {
  if (!gpu_) gpu_ = make_backend(device_, 1);
  return *gpu_;
}

const Result& Runs::truth(const Case& one) {
  const auto known = truths_.find(one.name());
  if (known != truths_.end()) return known->second;
  Arena arena(*cpu_);
  return truths_.emplace(one.name(), one.call(arena, [](const std::function<void()>& op) { op(); })).first->second;
}

std::string Runs::wrong(const Case& one) {
  return wrong(one, [](const std::function<void()>& op) { op(); });
}

std::string Runs::wrong(const Case& one, const std::function<void(const std::function<void()>&)>& around) {
  try {
    Arena arena(backend());
    const Result result = one.call(arena, around);
    arena.check_guards();
    return difference(result, truth(one));
  } catch (const std::exception& error) {
    const std::string what = error.what();
#ifdef M2_EMULATED
    gpu_.reset();
    emulator::reset_device();
#endif
    return what.empty() ? "an error without words" : what;
  }
}

#ifdef M2_EMULATED
void use_seed(int seed) { emulator::settings().seed = seed; }
#else
void use_seed(int) { fail("BAD_OPTION", "--seeds is for the emulated device"); }
int mutate(Runs&, const std::vector<Case>&, const MutationOptions&) { fail("BAD_OPTION", "--mutate is for the emulated device"); }
#endif

#ifndef M2_TRACED
int print_traffic(Runs&, const std::vector<Case>&) { fail("BAD_OPTION", "--traffic is for a traced build of the emulated device"); }
#endif

}  // namespace m2::kernels
