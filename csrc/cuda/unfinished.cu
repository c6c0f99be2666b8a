// Launchers that are not written yet.
#include "cuda/launchers.h"

namespace m2::cuda {

size_t weight_bytes(int64_t, int64_t, int64_t) { fail("DEVICE_ERROR", "weight_bytes is not written yet"); }
void pack(const Machine&, Staging&, Weight&, int64_t, int64_t, const View&) { fail("DEVICE_ERROR", "pack is not written yet"); }
void linear(const Machine&, const LinearArgs&) { fail("DEVICE_ERROR", "linear is not written yet"); }
void grouped_gate_up(const Machine&, const GroupedGateUpArgs&) { fail("DEVICE_ERROR", "grouped_gate_up is not written yet"); }
void grouped_linear(const Machine&, const GroupedLinearArgs&) { fail("DEVICE_ERROR", "grouped_linear is not written yet"); }

void attention(const Machine&, const AttentionArgs&) { fail("DEVICE_ERROR", "attention is not written yet"); }
size_t attention_scratch(const Machine&, const Workload&) { return 0; }

}  // namespace m2::cuda
