#include "napi/probe.h"

#include <functional>

#include "core/cuda_probe.h"
#include "core/ops.h"
#include "napi/convert.h"

namespace m2::napi {
namespace {

using Result = std::function<Napi::Value(Napi::Env)>;

// Asks on a thread of the pool: the first call of a driver takes a while. Nothing else waits there yet.
class Question : public Napi::AsyncWorker {
 public:
  Question(Napi::Env env, std::function<Result()> ask) : AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), ask_(std::move(ask)) {}
  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override {
    try {
      answer_ = ask_();
    } catch (...) {
      error_ = std::current_exception();
    }
  }
  void OnOK() override {
    if (error_) deferred_.Reject(js_error(Env(), error_).Value());
    else deferred_.Resolve(answer_(Env()));
  }

 private:
  Napi::Promise::Deferred deferred_;
  std::function<Result()> ask_;
  Result answer_;
  std::exception_ptr error_;
};

Napi::Value ask(Napi::Env env, std::function<Result()> question) {
  auto* worker = new Question(env, std::move(question));  // deletes itself
  worker->Queue();
  return worker->promise();
}

Napi::Value to_js(Napi::Env env, const CudaProbe& probe) {
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

// () -> { compiled, driver, devices, reason? }, as lib/native.ts types it.
Napi::Value cuda_probe(const Napi::CallbackInfo& info) {
  return ask(info.Env(), []() -> Result { return [probe = probe_cuda()](Napi::Env env) { return to_js(env, probe); }; });
}

// (device) -> { free, total }
Napi::Value device_memory_of(const Napi::CallbackInfo& info) {
  return ask(info.Env(), [device = info[0].As<Napi::String>().Utf8Value()]() -> Result {
    return [memory = device_memory(device_ordinal(device), device)](Napi::Env env) -> Napi::Value {
      Napi::Object result = Napi::Object::New(env);
      result["free"] = Napi::Number::New(env, static_cast<double>(memory.free));
      result["total"] = Napi::Number::New(env, static_cast<double>(memory.total));
      return result;
    };
  });
}

}  // namespace

void export_probe(Napi::Env env, Napi::Object exports) {
  exports["cudaProbe"] = Napi::Function::New(env, cuda_probe, "cudaProbe");
  exports["deviceMemory"] = Napi::Function::New(env, device_memory_of, "deviceMemory");
}

}  // namespace m2::napi
