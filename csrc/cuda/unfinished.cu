// Launchers that are not written yet.
#include "cuda/launchers.h"

namespace m2::cuda {

void attention(const Machine&, const AttentionArgs&) { fail("DEVICE_ERROR", "attention is not written yet"); }
size_t attention_scratch(const Machine&, const Workload&) { return 0; }

void set_pages(const Machine&, const SetPagesArgs&) { fail("DEVICE_ERROR", "set_pages is not written yet"); }
void start_histories(const Machine&, const StartHistoriesArgs&) { fail("DEVICE_ERROR", "start_histories is not written yet"); }
void sample(const Machine&, const SampleArgs&) { fail("DEVICE_ERROR", "sample is not written yet"); }
size_t sample_scratch(const Workload&) { return 0; }



}  // namespace m2::cuda
