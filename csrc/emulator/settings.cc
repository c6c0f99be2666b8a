#include "emulator/settings.h"

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "emulator/device/sanitizers.h"

namespace m2::emulator {
namespace {

uint64_t number(Settings& s, const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  if (!text || !*text) return otherwise;
  char* end;
  const uint64_t value = std::strtoull(text, &end, 10);
  if (!*end) return value;
  s.mistake = std::string(name) + " is \"" + text + "\", expected a number";
  return otherwise;
}

Settings from_environment() {
  Settings s;
  s.seed = number(s, "M2_EMULATOR_SEED", s.seed);
  s.threads = static_cast<unsigned>(std::clamp<uint64_t>(number(s, "M2_EMULATOR_THREADS", std::clamp(std::thread::hardware_concurrency(), 1u, 4u)), 1, 64));
#if M2_TSAN || defined(M2_TRACED)
  s.threads = 1;
#endif
  s.architecture = static_cast<int>(number(s, "M2_EMULATED_ARCH", 90));
  if (s.architecture != 80 && s.architecture != 90) s.mistake = "M2_EMULATED_ARCH is " + std::to_string(s.architecture) + ", expected 80 or 90";
  s.memory = number(s, "M2_EMULATED_MEMORY", s.memory);
  s.multiprocessors = static_cast<int>(std::clamp<uint64_t>(number(s, "M2_EMULATED_MULTIPROCESSORS", 4), 1, 1024));
  s.fail = static_cast<unsigned>(number(s, "M2_EMULATOR_FAIL", 0));
  return s;
}

}  // namespace

Settings& settings() {
  static Settings* all = new Settings(from_environment());
  return *all;
}

}  // namespace m2::emulator
