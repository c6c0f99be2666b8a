// Cases on a device, held against the CPU backend.
#pragma once
#include <map>
#include <memory>

#include "kernels/compare.h"

namespace m2::kernels {

class Runs {
 public:
  explicit Runs(std::string device) : device_(std::move(device)), cpu_(make_backend("cpu", 1)) { backend(); }

  // Empty, or what was wrong with a case. An emulated device that failed is made anew.
  std::string wrong(const Case& one);
  // The same, of which `around` may look at the op alone: it is given the op to run.
  std::string wrong(const Case& one, const std::function<void(const std::function<void()>&)>& around);
  Backend& backend();

 private:
  const Result& truth(const Case& one);

  std::string device_;
  std::unique_ptr<Backend> cpu_, gpu_;
  std::map<std::string, Result> truths_;
};

struct MutationOptions {
  std::string site;  // part of FILE:LINE; empty: all
  int seeds, jobs;
  bool complete;     // whether all cases are here
};

// Of the emulated device; elsewhere they say that they are not there.
void use_seed(int seed);
int mutate(Runs&, const std::vector<Case>&, const MutationOptions&);
int print_traffic(Runs&, const std::vector<Case>&);

}  // namespace m2::kernels
