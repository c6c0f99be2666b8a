// The CPU backend. Instructions are chosen when it is made: AVX-512 with bf16 dot products, AVX2 with FMA, or plain code for any machine; the
// environment variable M2_CPU_ISA = avx512 | avx2 | plain chooses one of those that the machine has. Results differ between these, by rounding, but never
// with the number of threads or the other rows of a call. One op at a time: an instance serves one thread.
#pragma once
#include "core/ops.h"

namespace m2::cpu {

// threads: 0 for physical cores. Throws BAD_OPTION for a count out of 0..1024, DEVICE_UNAVAILABLE for an M2_CPU_ISA that is not here.
std::unique_ptr<Backend> make_cpu_backend(int threads);

}  // namespace m2::cpu
