#include "cpu/kernels.h"

#include <cstdlib>
#include <vector>

namespace m2::cpu {
namespace {

std::vector<const Kernels*> usable_kernels() {  // the best first
  std::vector<const Kernels*> usable;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bf16")) {
    usable.push_back(&kAvx512Kernels);
  }
  // Whatever has AVX2 has the half conversions too; not every compiler can ask for them.
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) usable.push_back(&kAvx2Kernels);
#endif
  usable.push_back(&kPlainKernels);
  return usable;
}

}  // namespace

const Kernels& choose_kernels() {
  const std::vector<const Kernels*> usable = usable_kernels();
  const char* wanted = std::getenv("M2_CPU_ISA");
  if (!wanted || !*wanted) return *usable.front();
  std::string names;
  for (const Kernels* kernels : usable) {
    if (std::string(wanted) == kernels->name) return *kernels;
    names += std::string(names.empty() ? "" : ", ") + kernels->name;
  }
  fail("DEVICE_UNAVAILABLE", "M2_CPU_ISA is \"", wanted, "\"; this machine has ", names);
}

}  // namespace m2::cpu
