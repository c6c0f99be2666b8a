// One error type for the whole core. `code` is the stable code of the public contract (BAD_CHECKPOINT, DEVICE_ERROR, ...); the message names the
// thing, what was expected and what was found. napi turns it into a JavaScript Error with the same code; nothing else catches it.
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

namespace m2 {

class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message) : std::runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

template <class... Parts>
[[noreturn]] void fail(const char* code, const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw Error(code, text.str());
}

// For what a caller inside the core promised and broke: a bug of ours, reported instead of undefined behaviour.
template <class... Parts>
void expect(bool holds, const Parts&... parts) {
  if (!holds) fail("DEVICE_ERROR", "internal: ", parts...);
}

}  // namespace m2
