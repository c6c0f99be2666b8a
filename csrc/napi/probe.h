// The door to core/cuda_probe.h.
#pragma once
#include <napi.h>

namespace m2 {

// { compiled, driver, devices, names, reason? }
Napi::Value cuda_probe(const Napi::CallbackInfo& info);

}  // namespace m2
