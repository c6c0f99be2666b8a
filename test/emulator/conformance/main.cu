// Every instruction of csrc/cuda/ptx over fixed inputs, against what the host computes: conformance_emulated or conformance_cuda
//   --record FILE     also writes what the device gave
//   --check FILE...   also compares it with what other devices gave
// Vectors of a newer architecture than the device's or the recording's are left out. One line for each that is wrong, and at the end "N passed, N failed".
// Each case runs in a process of its own, so that one which hangs or breaks the device leaves the others alone.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "../device.h"
#include "vectors.h"

namespace m2::test {
namespace {

constexpr unsigned kMostSeconds = 120;  // of a case

struct Options {
  std::string record;
  std::vector<std::string> check;
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i++) {
    const std::string word = argv[i];
    if (word == "--record" && i + 1 < argc) {
      options.record = argv[++i];
    } else if (word == "--check" && i + 1 < argc) {
      while (i + 1 < argc && argv[i + 1][0] != '-') options.check.emplace_back(argv[++i]);
    } else {
      throw std::runtime_error("\"" + word + "\" is unknown or lacks its value; expected: [--record FILE] [--check FILE...]");
    }
  }
  return options;
}

// What body() returns in a process of its own. Throws what body() throws, or how the process ended.
template <class Body>
std::string apart(Body body) {
  int ends[2];
  EXPECT(pipe(ends) == 0);
  std::fflush(stdout);
  const pid_t child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    alarm(kMostSeconds);
    std::string text;
    int status = 0;
    try {
      text = body();
    } catch (const std::exception& error) {
      text = error.what();
      status = 1;
    }
    for (size_t written = 0; written < text.size();) {
      const ssize_t n = write(ends[1], text.data() + written, text.size() - written);
      if (n < 0) _exit(2);
      written += static_cast<size_t>(n);
    }
    std::fflush(stdout);
    _exit(status);
  }
  close(ends[1]);
  std::string text;
  char part[4096];
  for (ssize_t n; (n = read(ends[0], part, sizeof part)) > 0;) text.append(part, static_cast<size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) throw std::runtime_error(WTERMSIG(status) == SIGALRM ? "does not end" : std::string("ended by ") + strsignal(WTERMSIG(status)));
  if (WEXITSTATUS(status) != 0) throw std::runtime_error(text);
  return text;
}

std::string this_device() {
  cudaDeviceProp properties;
  int driver, runtime;
  succeed(cudaGetDeviceProperties(&properties, 0));
  succeed(cudaDriverGetVersion(&driver));
  succeed(cudaRuntimeGetVersion(&runtime));
  return "device sm_" + std::to_string(properties.major * 10 + properties.minor) + ", driver " + std::to_string(driver) + ", runtime " +
         std::to_string(runtime) + ", " + properties.name + "\n";
}

struct Checked {
  std::string path;
  Recording recording;

  explicit Checked(const std::string& path) : path(path) {
    std::ifstream file(path);
    std::ostringstream text;
    if (!file || !(text << file.rdbuf())) throw std::runtime_error(path + " cannot be read");
    recording = parse_vectors(text.str(), path);
  }

  // "" where the recording agrees with the vector, or cannot have it.
  std::string differs(const Vector& vector) const {
    const auto found = recording.entries.find(vector.name);
    if (found == recording.entries.end()) return recording.architecture < vector.architecture ? "" : "is not in " + path;
    const std::string difference = vector.differs(found->second.values);
    return difference.empty() ? "" : difference + " in " + path;
  }
};

// The text of a case's vectors that are as they should be; the others are told of and follow behind an empty line.
std::string judge(const ConformanceCase& one, const std::vector<Checked>& recordings) {
  Vectors vectors(one.architecture);
  one.body(vectors);
  std::string right, wrong;
  for (const Vector& vector : vectors.all()) {
    std::string difference = vector.wrong();
    for (size_t i = 0; i < recordings.size() && difference.empty(); i++) difference = recordings[i].differs(vector);
    (difference.empty() ? right : wrong) += text_of(vector);
    if (!difference.empty()) std::printf("FAILED %s: %s\n", vector.name.c_str(), difference.c_str());
  }
  return right + "\n" + wrong;
}

int run_cases(const Options& options) {
  const std::vector<Checked> recordings(options.check.begin(), options.check.end());
  const std::string device = apart(this_device);
  std::printf("%s", device.c_str());

  const int architecture = parse_vectors(device, "the device").architecture;
  std::string text = device;
  size_t passed = 0, failed = 0, left_out = 0;
  for (const ConformanceCase& one : conformance_cases()) {
    if (one.architecture > architecture) {
      left_out++;
      continue;
    }
    try {
      const std::string vectors = apart([&] { return judge(one, recordings); });
      const size_t gap = vectors.find("\n\n"), end = gap == std::string::npos ? 0 : gap + 1;
      const std::string right = vectors.substr(0, end), wrong = vectors.substr(end + 1);
      passed += parse_vectors(device + right, one.name).entries.size();
      failed += parse_vectors(device + wrong, one.name).entries.size();
      text += right + wrong;
    } catch (const std::exception& error) {
      failed++;
      std::printf("FAILED %s: %s\n", one.name, error.what());
    }
  }
  if (left_out > 0) std::printf("left out: %zu cases, which need a newer device\n", left_out);

  const Recording all = parse_vectors(text, "the vectors");
  for (const Checked& other : recordings) {
    size_t newer = 0, older = 0;
    for (const auto& [name, entry] : all.entries) older += entry.architecture > other.recording.architecture;
    for (const auto& [name, entry] : other.recording.entries) {
      if (entry.architecture > architecture) {
        newer++;
      } else if (all.entries.count(name) == 0) {
        failed++;
        std::printf("FAILED %s: is in %s and not here\n", name.c_str(), other.path.c_str());
      }
    }
    if (newer + older > 0) std::printf("left out: %zu vectors of %s that this device lacks, %zu the other way round\n", newer, other.path.c_str(), older);
  }
  if (!options.record.empty() && !(std::ofstream(options.record) << text << std::flush)) throw std::runtime_error(options.record + " cannot be written");
  std::printf("%zu passed, %zu failed\n", passed, failed);
  return failed > 0 || passed == 0;
}

}  // namespace
}  // namespace m2::test

int main(int argc, char** argv) {
  try {
    return m2::test::run_cases(m2::test::parse(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
