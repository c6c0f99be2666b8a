// Runs the kernels' cases on a device against the CPU backend: kernels DEVICE [--m2] [--only TEXT] [--list]
// One line a case, and at the end "N passed, N failed". Built over the emulator (plain or with a sanitizer), and by nvcc for a GPU.
#include <cstdio>
#include <cstring>

#include "kernels/compare.h"

using namespace m2;
using namespace m2::kernels;

namespace {

Result run_on(Backend& ops, const Case& one) {
  Arena arena(ops);
  const Result result = one.call(arena, [](const std::function<void()>& op) { op(); });
  arena.check_guards();
  return result;
}

int run_all(const std::vector<Case>& cases, const std::string& device, const std::string& only) {
  const auto cpu = make_backend("cpu", 1), gpu = make_backend(device, 1);
  int passed = 0, failed = 0;
  for (const Case& one : cases) {
    if (one.name().find(only) == std::string::npos) continue;
    std::string wrong;
    try {
      wrong = difference(run_on(*gpu, one), run_on(*cpu, one));
    } catch (const std::exception& error) {
      wrong = error.what();
    }
    (wrong.empty() ? passed : failed)++;
    std::printf("%s: %s\n", one.name().c_str(), wrong.empty() ? "ok" : wrong.c_str());
    std::fflush(stdout);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed > 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::string device, only;
  bool m2_sizes = false, list = false;
  for (int i = 1; i < argc; i++) {
    if (!std::strcmp(argv[i], "--m2")) m2_sizes = true;
    else if (!std::strcmp(argv[i], "--list")) list = true;
    else if (!std::strcmp(argv[i], "--only") && i + 1 < argc) only = argv[++i];
    else device = argv[i];
  }
  const std::vector<Case> cases = m2_sizes ? m2_cases() : small_cases();
  if (list) {
    for (const Case& one : cases) std::printf("%s\n", one.name().c_str());
    return 0;
  }
  try {
    return run_all(cases, device, only);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
