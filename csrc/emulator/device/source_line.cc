// Debug information is read by addr2line, where there is one; otherwise the address within its library has to do.
#include "emulator/device/source_line.h"

#include <dlfcn.h>

#include <cstdint>
#include <cstdio>

namespace m2::emulator {

std::string source_line(const void* pc) {
  Dl_info info;
  if (!dladdr(pc, &info) || !info.dli_fname) return "an unknown place";
  char place[40];
  const auto offset = reinterpret_cast<uintptr_t>(pc) - reinterpret_cast<uintptr_t>(info.dli_fbase);
  std::snprintf(place, sizeof place, "0x%llx", static_cast<unsigned long long>(offset));
  const std::string library = info.dli_fname;
  std::string line;
  if (library.find('\'') == std::string::npos) {
    if (FILE* pipe = popen(("addr2line -e '" + library + "' " + place + " 2>/dev/null").c_str(), "r")) {
      char text[1024];
      while (std::fgets(text, sizeof text, pipe)) line += text;
      pclose(pipe);
    }
  }
  while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) line.pop_back();
  if (line.empty() || line.starts_with("??")) return library + "+" + place;
  return line;
}

}  // namespace m2::emulator
