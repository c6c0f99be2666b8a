// Every call of the CUDA runtime fails in turn, from the making of the backend to the last step: each time there is one error that names what failed, or
// nothing that anybody could notice; never a wrong answer, a crash or memory that stays. failures_emulated [--every N]: only each Nth call, for haste.
#include <cuda_runtime.h>

#include <cstdlib>

#include "core/error.h"
#include "emulator/check.h"
#include "emulator/control.h"
#include "failures/steps.h"

namespace m2::test {
namespace {

unsigned every = 1;

struct Outcome {
  std::vector<int32_t> said;
  std::string code, message;  // of the error, if any
};

Outcome outcome() {
  try {
    return {load_and_step(), "", ""};
  } catch (const Error& error) {
    return {{}, error.code(), error.what()};
  }
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string joined(const std::vector<std::string>& lines) {
  std::string all;
  for (const std::string& line : lines) all += "\n  " + line;
  return all;
}

// Calls fail one by one until the one that is to fail does not come any more.
void fail_each(cudaError_t error, bool sticks) {
  emulator::reset_device();
  const std::vector<int32_t> truth = outcome().said;
  EXPECT(!truth.empty() && emulator::reset_device().empty());
  unsigned errors = 0, unnoticed = 0;
  for (unsigned nth = 1;; nth += every) {
    emulator::fail_call(nth, error);
    const Outcome got = outcome();
    const std::string report = emulator::last_report();
    const std::vector<std::string> left = emulator::reset_device();
    const auto where = [&](const char* what) { return std::string("call ") + std::to_string(nth) + ": " + what + ": " + got.code + " " + got.message; };
    if (report.empty()) {  // all calls were made
      EXPECT(got.said == truth, where("another answer"));
      break;
    }
    if (got.code.empty()) {
      unnoticed++;
      EXPECT(got.said == truth, where("a wrong answer in place of an error"));
      // A call that gives something back cannot tell anybody: what it was to free stays.
      EXPECT(sticks || left.size() <= 1, where("left:"), joined(left));
      continue;
    }
    errors++;
    const bool of_memory = error == cudaErrorMemoryAllocation && got.code == "OUT_OF_MEMORY";
    EXPECT(got.code == "DEVICE_ERROR" || got.code == "DEVICE_UNAVAILABLE" || of_memory, where("a strange code"));
    EXPECT(of_memory ? contains(got.message, " bytes, ") : contains(got.message, cudaGetErrorString(error)), where("no facts"));
    EXPECT(sticks || left.empty(), where("left:"), joined(left));
  }
  std::printf("%s: %u errors, %u failures that nobody needs to hear of\n", cudaGetErrorName(error), errors, unnoticed);
  EXPECT(errors > 5 * unnoticed / 4);
}

CASE("each call fails as if the device were lost") { fail_each(cudaErrorLaunchFailure, true); }
CASE("each call fails for want of memory") { fail_each(cudaErrorMemoryAllocation, false); }
CASE("each call fails once, for no reason") { fail_each(cudaErrorUnknown, false); }

CASE("a device that is too small says what was asked for and what is free") {
  const size_t whole = emulator::settings().memory;
  bool fits = false;
  unsigned refused = 0;
  for (size_t memory = 4 << 10; !fits; memory += memory / 8) {
    emulator::settings().memory = memory;
    emulator::reset_device();
    const Outcome got = outcome();
    fits = got.code.empty();
    refused += !fits;
    EXPECT(fits || (got.code == "OUT_OF_MEMORY" && contains(got.message, "expected room for") && contains(got.message, " free")), got.code, " ", got.message);
    const std::vector<std::string> left = emulator::reset_device();
    EXPECT(left.empty(), memory, " bytes: ", got.message, ", left:", joined(left));
  }
  emulator::settings().memory = whole;
  EXPECT(refused > 10);
}

}  // namespace
}  // namespace m2::test

int main(int argc, char** argv) {
  if (argc > 2 && std::string(argv[1]) == "--every") {
    m2::test::every = static_cast<unsigned>(std::atoi(argv[2]));
    argc = 1;
  }
  return m2::test::run(argc, argv);
}
