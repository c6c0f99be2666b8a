#include "cpu/simd/plain.h"

#include "cpu/kernels/all.h"

namespace m2::cpu {
constexpr Kernels kPlainKernels = kernels_over<Plain>();
}
