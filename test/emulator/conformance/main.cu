// Every instruction of csrc/cuda/ptx over fixed inputs, against what the host computes: conformance_emulated or conformance_cuda
//   --record FILE     also writes what the device gave
//   --check FILE...   also compares it with what other devices gave
// Vectors of a newer architecture than the device's or the recording's are left out. One line for each that is wrong, and at the end "N passed, N failed".
#include <cstdio>
#include <set>

#include "../device.h"
#include "vectors.h"

namespace m2::test {
namespace {

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

Device this_device() {
  cudaDeviceProp properties;
  succeed(cudaGetDeviceProperties(&properties, 0));
  Device device{properties.name, properties.major * 10 + properties.minor, 0, 0};
  succeed(cudaDriverGetVersion(&device.driver));
  succeed(cudaRuntimeGetVersion(&device.runtime));
  return device;
}

// "" where the recording agrees with the vector, or cannot have it.
std::string differs(const Vector& vector, const Recording& recording, const std::string& path) {
  const auto found = recording.entries.find(vector.name);
  if (found == recording.entries.end()) return recording.architecture < vector.architecture ? "" : "is not in " + path;
  const std::string difference = vector.differs(found->second.values);
  return difference.empty() ? "" : difference + " in " + path;
}

int run_cases(const Options& options) {
  std::vector<Recording> recordings;
  for (const std::string& path : options.check) recordings.push_back(read_vectors(path));
  const Device device = this_device();
  std::printf("%s, sm_%d\n", device.name.c_str(), device.architecture);

  int passed = 0, failed = 0, left_out = 0;
  const auto judge = [&](const std::string& name, const std::string& wrong) {
    (wrong.empty() ? passed : failed)++;
    if (!wrong.empty()) std::printf("FAILED %s: %s\n", name.c_str(), wrong.c_str());
  };
  std::vector<Vector> all;
  for (const ConformanceCase& one : conformance_cases()) {
    if (one.architecture > device.architecture) {
      left_out++;
      continue;
    }
    Vectors vectors(one.architecture);
    try {
      one.body(vectors);
    } catch (const std::exception& error) {
      judge(one.name, error.what());
    }
    for (const Vector& vector : vectors.all()) {
      std::string wrong = vector.wrong();
      for (size_t i = 0; i < recordings.size() && wrong.empty(); i++) wrong = differs(vector, recordings[i], options.check[i]);
      judge(vector.name, wrong);
      all.push_back(vector);
    }
  }
  if (left_out > 0) std::printf("left out: %d cases, which need a newer device\n", left_out);

  std::set<std::string> names;
  for (const Vector& vector : all) names.insert(vector.name);
  EXPECT(names.size() == all.size(), "two vectors of one name");
  for (size_t i = 0; i < recordings.size(); i++) {
    int newer = 0, older = 0;
    for (const Vector& vector : all) older += vector.architecture > recordings[i].architecture;
    for (const auto& [name, entry] : recordings[i].entries) {
      if (entry.architecture > device.architecture) newer++;
      else if (!names.count(name)) judge(name, "in " + options.check[i] + " and not here");
    }
    if (newer + older > 0) {
      std::printf("left out: %d vectors of %s that this device lacks, and %d of this device that it lacks\n", newer, options.check[i].c_str(), older);
    }
  }
  if (!options.record.empty()) write_vectors(options.record, device, all);
  std::printf("%d passed, %d failed\n", passed, failed);
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
