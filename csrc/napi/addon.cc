#include <napi.h>

#include "napi/probe.h"

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports["cudaProbe"] = Napi::Function::New(env, m2::cuda_probe, "cudaProbe");
  return exports;
}

NODE_API_MODULE(addon, init)
