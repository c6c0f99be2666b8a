#include "vectors.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <stdexcept>

namespace m2::test {
namespace {

constexpr size_t kMostRecorded = 128;  // values of a vector

float as_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

uint32_t as_bits(float value) {
  uint32_t bits;
  value += 0.0f;  // no negative zero
  std::memcpy(&bits, &value, 4);
  return bits;
}

std::string text_of(bool is_float, double value) {
  char text[40];
  std::snprintf(text, sizeof text, is_float ? "%.9g" : "%.0f", value);
  return text;
}

double value_of(bool is_float, uint32_t bits) { return is_float ? double{as_float(bits)} : static_cast<double>(bits); }

uint32_t hash_of(const std::vector<uint32_t>& values) {
  uint32_t hash = 2166136261u;
  for (uint32_t value : values) {
    for (int byte = 0; byte < 4; byte++) hash = (hash ^ (value >> 8 * byte & 255)) * 16777619u;
  }
  return hash;
}

std::vector<double> as_doubles(const std::vector<uint32_t>& values) { return {values.begin(), values.end()}; }

}  // namespace

std::string Vector::wrong() const {
  if (values.size() != truth.size()) return std::to_string(values.size()) + " values, not " + std::to_string(truth.size());
  size_t count = 0, first = 0;
  for (size_t i = values.size(); i-- > 0;) {
    const double value = value_of(is_float, values[i]);
    if (value == truth[i] || std::abs(value - truth[i]) <= bounds[i]) continue;
    count++;
    first = i;
  }
  if (count == 0) return "";
  return std::to_string(count) + " of " + std::to_string(values.size()) + " values, the first at " + std::to_string(first) + ": " +
         text_of(is_float, value_of(is_float, values[first])) + ", expected " + text_of(is_float, truth[first]) +
         (tolerance > 0 ? " to " + text_of(true, bounds[first]) : "");
}

std::vector<uint32_t> Vector::recorded() const {
  if (values.size() <= kMostRecorded) return values;
  if (tolerance == 0) return {hash_of(values)};
  std::vector<uint32_t> some;
  for (size_t i = 0; i < kMostRecorded; i++) some.push_back(values[i * values.size() / kMostRecorded]);
  return some;
}

std::string Vector::differs(const std::vector<uint32_t>& others) const {
  const std::vector<uint32_t> mine = recorded();
  if (mine.size() != others.size()) return std::to_string(mine.size()) + " values here, " + std::to_string(others.size()) + " recorded";
  for (size_t i = 0; i < mine.size(); i++) {
    if (mine[i] == others[i]) continue;
    const double bound = tolerance == 0 ? 0 : bounds[i * values.size() / mine.size()];
    if (bound > 0 && std::abs(double{as_float(mine[i])} - as_float(others[i])) <= bound) continue;
    char text[120];
    std::snprintf(text, sizeof text, "value %zu is %08x, recorded %08x", i, mine[i], others[i]);
    if (!is_float || (tolerance == 0 && mine.size() < values.size())) return text;
    return std::string(text) + " (" + text_of(true, as_float(mine[i])) + ", " + text_of(true, as_float(others[i])) + ")";
  }
  return "";
}

void Vectors::exact(const std::string& name, const std::vector<uint32_t>& values, const std::vector<uint32_t>& truth) {
  all_.push_back({name, architecture_, false, 0, values, as_doubles(truth), std::vector<double>(truth.size(), 0.0)});
}

void Vectors::exact(const std::string& name, const std::vector<float>& values, const std::vector<double>& truth) {
  within(0, name, values, truth, std::vector<double>(truth.size(), 0.0));
}

void Vectors::within(double tolerance, const std::string& name, const std::vector<float>& values, const std::vector<double>& truth,
                     const std::vector<double>& scales) {
  Vector vector{name, architecture_, true, tolerance, {}, truth, scales};
  for (float value : values) vector.values.push_back(as_bits(value));
  for (double& bound : vector.bounds) bound *= tolerance;
  all_.push_back(std::move(vector));
}

std::string text_of(const Vector& v) {
  const std::vector<uint32_t> values = v.recorded();
  std::ostringstream text;
  text << v.name << " sm_" << v.architecture << (v.is_float ? " f32 " : " u32 ");
  if (v.tolerance > 0) text << "within " << v.tolerance;
  else text << "exact";
  text << " " << v.values.size();
  if (values.size() < v.values.size()) text << (v.tolerance > 0 ? ", every so many-th" : ", their hash");
  char word[16];
  for (size_t i = 0; i < values.size(); i++) {
    std::snprintf(word, sizeof word, "%08x", values[i]);
    text << (i % 16 == 0 ? "\n  " : " ") << word;
  }
  text << "\n";
  return text.str();
}

Recording parse_vectors(const std::string& text, const std::string& file) {
  std::istringstream lines(text);
  Recording all;
  Recording::Entry* entry = nullptr;
  std::string line;
  int number = 0;
  const auto expect = [&](bool is_so, const char* what) {
    if (!is_so) throw std::runtime_error(file + ":" + std::to_string(number) + ": expected " + what);
  };
  while (std::getline(lines, line)) {
    number++;
    std::istringstream words(line);
    if (line[0] == ' ') {
      expect(entry, "a vector's name before its values");
      uint32_t value;
      for (words >> std::hex; words >> value;) entry->values.push_back(value);
      expect(words.eof(), "hexadecimal values");
      continue;
    }
    std::string name, word;
    words >> name >> word;
    int architecture = 0;
    expect(std::sscanf(word.c_str(), "sm_%d", &architecture) == 1, "a name and an architecture, as in \"mma_s8 sm_80\"");
    if (name == "device") all.architecture = architecture;
    if (name == "device") continue;
    expect(all.entries.count(name) == 0, "each name once");
    entry = &(all.entries[name] = {architecture, {}});
  }
  expect(all.architecture > 0, "a line that begins with \"device\"");
  return all;
}

}  // namespace m2::test
