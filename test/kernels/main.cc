// Runs the kernels' cases on a device against the CPU backend: kernels DEVICE [--m2] [--only TEXT] [--list]
//   --m2          the cases at MiniMax-M2's sizes in place of the small ones
//   --seeds N     emulated: under the seeds 0 .. N-1 in place of the environment's
//   --mutate      emulated: the cases with each barrier, wait, fence and commit left out in turn (mutate.cc)
//     --site TEXT   only those whose FILE:LINE has it
//     --jobs N      so many at a time, in place of one for each core
//   --traffic     traced: what each kernel moves, as JSON (traffic.cc)
//   --plans       which kernels are chosen at MiniMax-M2's sizes (plans.cc)
// One line a case, and at the end "N passed, N failed". Built over the emulator (plain, sanitized or traced), and by nvcc for a GPU.
#include <cstdio>
#include <iostream>
#include <set>
#include <thread>

#include "core/error.h"
#include "kernels/plans.h"
#include "kernels/runs.h"

using namespace m2;
using namespace m2::kernels;

namespace {

struct Options {
  std::string device, only, site;
  int seeds = 0, jobs = static_cast<int>(std::max(std::thread::hardware_concurrency(), 1u));
  bool m2 = false, list = false, mutate = false, traffic = false, plans = false;
};

bool parse(int argc, char** argv, Options& o) {
  for (int i = 1; i < argc; i++) {
    const std::string word = argv[i];
    const bool has_value = i + 1 < argc;
    if (word == "--m2") o.m2 = true;
    else if (word == "--list") o.list = true;
    else if (word == "--mutate") o.mutate = true;
    else if (word == "--traffic") o.traffic = true;
    else if (word == "--plans") o.plans = true;
    else if (word == "--only" && has_value) o.only = argv[++i];
    else if (word == "--seeds" && has_value) o.seeds = std::atoi(argv[++i]);
    else if (word == "--site" && has_value) o.site = argv[++i];
    else if (word == "--jobs" && has_value) o.jobs = std::max(std::atoi(argv[++i]), 1);
    else if (word[0] != '-' && o.device.empty()) o.device = word;
    else return false;
  }
  return !o.device.empty() || o.list;
}

// The CPU's results are kept by name: of two cases with one name the second would be held against those of the first.
void check_names(const std::vector<Case>& cases) {
  std::set<std::string> names;
  for (const Case& one : cases) {
    if (!names.insert(one.name()).second) fail("BAD_INPUT", "two cases have the name \"", one.name(), "\"");
  }
}

std::vector<Case> cases_of(const Options& o) {
  std::vector<Case> cases = o.m2 ? m2_cases() : small_cases();
  const auto add = [&cases](std::vector<Case> more) { cases.insert(cases.end(), more.begin(), more.end()); };
  add(loading_cases(o.m2));
  if (!o.m2) {
    add(layer_cases());
    add(order_cases());
    add(product_cases());
  }
  check_names(cases);
  std::erase_if(cases, [&](const Case& one) { return one.name().find(o.only) == std::string::npos; });
  return cases;
}

int run_all(Runs& runs, const std::vector<Case>& cases) {
  int passed = 0, failed = 0;
  for (const Case& one : cases) {
    const std::string wrong = runs.wrong(one);
    (wrong.empty() ? passed : failed)++;
    std::printf("%s: %s\n", one.name().c_str(), wrong.empty() ? "ok" : wrong.c_str());
    std::fflush(stdout);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed > 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  if (!parse(argc, argv, o)) {
    std::fprintf(stderr, "kernels DEVICE [--m2] [--only TEXT] [--list] [--seeds N] [--mutate [--site TEXT] [--jobs N]] [--traffic] [--plans]\n");
    return 2;
  }
  if (o.plans) {
    print_plans(std::cout);
    return 0;
  }
  try {
    const std::vector<Case> cases = cases_of(o);
    if (o.list) {
      for (const Case& one : cases) std::printf("%s\n", one.name().c_str());
      return 0;
    }
    Runs runs(o.device);
    if (o.mutate) return mutate(runs, cases, {o.site, o.seeds, o.jobs, o.only.empty() && !o.m2});
    if (o.traffic) return print_traffic(runs, cases);
    int status = 0;
    for (int seed = 0; seed < std::max(o.seeds, 1); seed++) {
      if (o.seeds > 0) use_seed(seed);
      status |= run_all(runs, cases);
    }
    return status;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
