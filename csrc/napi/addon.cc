#include "napi/model.h"
#include "napi/probe.h"
#include "napi/tokenizer.h"

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  m2::napi::export_model(env, exports);
  m2::napi::export_tokenizer(env, exports);
  exports["cudaProbe"] = Napi::Function::New(env, m2::cuda_probe, "cudaProbe");
  return exports;
}

NODE_API_MODULE(addon, init)
