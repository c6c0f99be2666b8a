// cudaProbe and deviceMemory: the doors to core/cuda_probe.h.
#pragma once
#include <napi.h>

namespace m2::napi {

void export_probe(Napi::Env, Napi::Object exports);

}  // namespace m2::napi
