// Where in the sources a barrier, a wait, a fence or a commit stands. Device functions take it as their last parameter with Site::here() as its default,
// so that reports can name the line, and so that a mutation run can list the sites and switch one of them off without compiling anew (control.h).
#pragma once

namespace m2::emulator {

struct Site {
  const char* file = "";
  unsigned line = 0;

  static constexpr Site here(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) { return {file, line}; }
};

}  // namespace m2::emulator
