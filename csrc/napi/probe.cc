#include "napi/probe.h"

#include "core/cuda_probe.h"
#include "napi/convert.h"

namespace m2::napi {
namespace {

// () -> { compiled, driver, devices, reason? }, as lib/native.ts types it.
Napi::Value cuda_probe(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const CudaProbe probe = probe_cuda();
  Napi::Array devices = Napi::Array::New(env, probe.devices.size());
  for (uint32_t i = 0; i < probe.devices.size(); i++) {
    const CudaDevice& found = probe.devices[i];
    Napi::Object device = Napi::Object::New(env);
    device["device"] = Napi::String::New(env, "cuda:" + std::to_string(i));
    device["name"] = Napi::String::New(env, found.name);
    device["architecture"] = Napi::Number::New(env, found.architecture);
    device["memory"] = Napi::Number::New(env, static_cast<double>(found.memory));
    device["usable"] = Napi::Boolean::New(env, found.usable);
    devices[i] = device;
  }
  Napi::Object result = Napi::Object::New(env);
  result["compiled"] = Napi::Boolean::New(env, probe.compiled);
  result["driver"] = Napi::Number::New(env, probe.driver);
  result["devices"] = devices;
  if (!probe.reason.empty()) result["reason"] = Napi::String::New(env, probe.reason);
  return result;
}

// (device) -> { free, total }
Napi::Value device_memory_of(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const DeviceMemory memory = device_memory(device_ordinal(info[0].As<Napi::String>()));
    Napi::Object result = Napi::Object::New(env);
    result["free"] = Napi::Number::New(env, static_cast<double>(memory.free));
    result["total"] = Napi::Number::New(env, static_cast<double>(memory.total));
    return result;
  });
}

}  // namespace

void export_probe(Napi::Env env, Napi::Object exports) {
  exports["cudaProbe"] = Napi::Function::New(env, cuda_probe, "cudaProbe");
  exports["deviceMemory"] = Napi::Function::New(env, device_memory_of, "deviceMemory");
}

}  // namespace m2::napi
