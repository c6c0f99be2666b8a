// Planted bugs: kernels with one mistake each, which has to be noticed, under at least so many of the seeds, and with the expected words.
#pragma once
#include <cstdio>
#include <string>
#include <type_traits>

#include "device_test.h"
#include "emulator/device/sanitizers.h"

#if M2_ASAN
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace m2::test {

// Whether a sanitizer's report is all that there is of an outcome.
inline bool said_by_a_sanitizer(const std::string& outcome) { return outcome.starts_with("AddressSanitizer: ") || outcome.starts_with("runtime error: "); }

#if M2_ASAN
// AddressSanitizer ends the process in which it finds something, UndefinedBehaviorSanitizer only says what: so a run is a child process, and its outcome what
// was said there, by a sanitizer if one did.
template <class Run>
std::string outcome_of(Run run) {
  std::fflush(stdout);
  int ends[2];
  EXPECT(pipe(ends) == 0);
  const pid_t child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    emulator::settings().threads = 1;  // the others are the parent's
    const std::string outcome = run();
    std::fputs(outcome.c_str(), stderr);
    _exit(!outcome.empty());
  }
  close(ends[1]);
  std::string said;
  char part[4096];
  for (ssize_t bytes; (bytes = read(ends[0], part, sizeof part)) > 0;) said.append(part, static_cast<size_t>(bytes));
  close(ends[0]);
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child);
  for (const char* sanitizer : {"AddressSanitizer: ", "runtime error: "}) {
    if (contains(said, sanitizer)) return said.substr(said.find(sanitizer));
  }
  return status == 0 ? "" : said;
}
#else
template <class Run>
std::string outcome_of(Run run) {
  return run();
}
#endif

// What is expected of a bug. Traced, every seed notices unless it says otherwise, by these words or, where they are of a wrong result, as a race.
struct Notice {
  uint64_t seeds;     // at least so many of kSeeds
  const char* words;  // in at least one outcome
  uint64_t traced_seeds = kSeeds;
  const char* traced_words = nullptr;
};

template <class Run>
void is_noticed(const char* name, const Notice& expected, Run run) {
#ifdef M2_TRACED
  const uint64_t seeds = expected.traced_seeds;
  const std::string words = expected.traced_words ? expected.traced_words : std::string(expected.words) == "wrong" ? "a race" : expected.words;
#else
  const uint64_t seeds = expected.seeds;
  const std::string words = expected.words;
#endif
  uint64_t noticed = 0;
  bool said = false;
  std::string last;
  for_each_seed([&] {
    const std::string outcome = outcome_of(run);
    noticed += !outcome.empty();
    said = said || contains(outcome, words) || said_by_a_sanitizer(outcome);
    if (!outcome.empty()) last = outcome;
  });
  std::printf("%-56s %2llu of %llu seeds  %s\n", name, static_cast<unsigned long long>(noticed), static_cast<unsigned long long>(kSeeds),
              last.substr(0, last.find('\n')).c_str());
  EXPECT(noticed >= seeds, name, ": noticed under ", noticed, " seeds");
  EXPECT(said, name, ": nobody said \"", words, "\" but: ", last);
}

// run(std::true_type) has the bug, run(std::false_type) does not: nothing is to be said of that one.
template <class Run>
void only_the_bug_is_noticed(const char* name, const Notice& expected, Run run) {
  for_each_seed([&] {
    const std::string outcome = run(std::false_type());
    EXPECT(outcome.empty(), name, ", without the bug: ", outcome);
  });
  is_noticed(name, expected, [&] { return run(std::true_type()); });
}

}  // namespace m2::test
