#include "napi/probe.h"

#include "core/cuda_probe.h"

namespace m2::napi {

// () -> { compiled, driver, devices, names, reason? }, as lib/native.ts types it.
static Napi::Value cuda_probe(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const CudaProbe probe = probe_cuda();
  Napi::Object result = Napi::Object::New(env);
  Napi::Array names = Napi::Array::New(env, probe.names.size());
  for (uint32_t i = 0; i < probe.names.size(); i++) names[i] = probe.names[i];
  result["compiled"] = Napi::Boolean::New(env, probe.compiled);
  result["driver"] = Napi::Number::New(env, probe.driver);
  result["devices"] = Napi::Number::New(env, static_cast<double>(probe.names.size()));
  result["names"] = names;
  if (!probe.reason.empty()) result["reason"] = Napi::String::New(env, probe.reason);
  return result;
}

void export_probe(Napi::Env env, Napi::Object exports) { exports["cudaProbe"] = Napi::Function::New(env, cuda_probe, "cudaProbe"); }

}  // namespace m2::napi
