// Golden vectors: what each instruction gave for fixed inputs, beside the truth that the host computed. CONFORMANCE("name", architecture) { .. } is a case
// of devices of that architecture and newer; its body has `out`, which takes the vectors.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace m2::test {

struct Vector {
  std::string name;
  int architecture;
  bool is_float;
  double tolerance = 0;          // 0: the bits are those of the truth
  std::vector<uint32_t> values;  // bits
  std::vector<double> truth, bounds;

  // "" where the values are within the bounds of the truth.
  std::string wrong() const;
  // What stands in a file: the values; of many a hash, or where they may differ every so many-th.
  std::vector<uint32_t> recorded() const;
  // "" where these recorded values agree.
  std::string differs(const std::vector<uint32_t>& values) const;
};

class Vectors {
 public:
  explicit Vectors(int architecture) : architecture_(architecture) {}
  const std::vector<Vector>& all() const { return all_; }

  // Integers; floats of which every bit is known, except the sign of a zero.
  void exact(const std::string& name, const std::vector<uint32_t>& values, const std::vector<uint32_t>& truth);
  void exact(const std::string& name, const std::vector<float>& values, const std::vector<double>& truth);
  // Values that differ from the truth by at most `tolerance` times the scale: for sums that of their terms' magnitudes.
  void within(double tolerance, const std::string& name, const std::vector<float>& values, const std::vector<double>& truth,
              const std::vector<double>& scales);

 private:
  int architecture_;
  std::vector<Vector> all_;
};

// A file of vectors: a line "device sm_90, ..", then for each vector a line "NAME sm_80 u32 exact 17" or "NAME sm_90 f32 within 1e-6 17" and its values,
// indented, as hexadecimal bits; where they are many it says what stands for them.
struct Recording {
  struct Entry {
    int architecture;
    std::vector<uint32_t> values;
  };
  int architecture = 0;
  std::map<std::string, Entry> entries;
};
std::string text_of(const Vector& vector);
// Throws std::runtime_error with a line for the user, which begins with the file's name.
Recording parse_vectors(const std::string& text, const std::string& file);

struct ConformanceCase {
  const char* name;
  int architecture;
  void (*body)(Vectors& out);
};
inline std::vector<ConformanceCase>& conformance_cases() {
  static std::vector<ConformanceCase> all;
  return all;
}
inline bool add_conformance_case(const char* name, int architecture, void (*body)(Vectors&)) {
  conformance_cases().push_back({name, architecture, body});
  return true;
}

}  // namespace m2::test

#define CONFORMANCE(name, architecture)                                                                                                    \
  static void M2_JOIN(conformance_, __LINE__)(m2::test::Vectors & out);                                                                    \
  static const bool M2_JOIN(added_, __LINE__) = m2::test::add_conformance_case(name, architecture, M2_JOIN(conformance_, __LINE__));       \
  static void M2_JOIN(conformance_, __LINE__)([[maybe_unused]] m2::test::Vectors & out)
