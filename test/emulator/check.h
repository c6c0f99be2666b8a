// Test cases for programs without a framework: CASE("name") { .. } with EXPECT(..); run() runs those whose name holds the program's first argument.
#pragma once
#include <cstdio>
#include <cstring>
#include <exception>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace m2::test {

struct Case {
  const char* name;
  void (*body)();
};
inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}
inline bool add_case(const char* name, void (*body)()) {
  cases().push_back({name, body});
  return true;
}

template <class... Parts>
[[noreturn]] void fail_here(const char* file, int line, const Parts&... parts) {
  std::ostringstream text;
  text << file << ":" << line << ": ";
  (text << ... << parts);
  throw std::runtime_error(text.str());
}

inline int run(int argc, char** argv) {
  int passed = 0, failed = 0;
  for (const Case& c : cases()) {
    if (argc > 1 && !std::strstr(c.name, argv[1])) continue;
    try {
      c.body();
      passed++;
    } catch (const std::exception& error) {
      failed++;
      std::printf("FAILED %s\n  %s\n", c.name, error.what());
    }
    std::fflush(stdout);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed > 0 || passed == 0;
}

}  // namespace m2::test

#define M2_JOIN_(a, b) a##b
#define M2_JOIN(a, b) M2_JOIN_(a, b)
#define CASE(name)                                                                                          \
  static void M2_JOIN(case_, __LINE__)();                                                                   \
  static const bool M2_JOIN(added_, __LINE__) = m2::test::add_case(name, M2_JOIN(case_, __LINE__));         \
  static void M2_JOIN(case_, __LINE__)()
#define EXPECT(condition, ...)                                                                              \
  do {                                                                                                      \
    if (!(condition)) m2::test::fail_here(__FILE__, __LINE__, "expected " #condition __VA_OPT__(, ": ", ) __VA_ARGS__); \
  } while (false)
