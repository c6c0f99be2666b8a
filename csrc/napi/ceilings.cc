#include "napi/ceilings.h"

#include <memory>

#include "cpu/ceilings.h"
#include "napi/convert.h"

namespace m2::napi {
namespace {

using Info = const Napi::CallbackInfo&;

Napi::Value work_to_js(Napi::Env env, const cpu::Work& work) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("amount", work.amount);
  object.Set("microseconds", work.microseconds);
  return object;
}

// (threads, bytes) -> { read(), multiplyF32(), multiplyBf16() }, as lib/ops.ts types it
Napi::Value create_ceilings(Info info) {
  const Napi::Env env = info.Env();
  const auto ceilings = std::make_shared<cpu::Ceilings>(info[0].As<Napi::Number>().Int32Value(),
                                                        static_cast<size_t>(info[1].As<Napi::Number>().Int64Value()));
  Napi::Object object = Napi::Object::New(env);
  const auto add = [&](const char* name, cpu::Work (cpu::Ceilings::*measure)()) {
    const auto body = [=](Info call) { return guarded(call.Env(), [&] { return work_to_js(call.Env(), ((*ceilings).*measure)()); }); };
    object.Set(name, Napi::Function::New(env, body, name));
  };
  add("read", &cpu::Ceilings::read);
  add("multiplyF32", &cpu::Ceilings::multiply_f32);
  add("multiplyBf16", &cpu::Ceilings::multiply_bf16);
  return object;
}

}  // namespace

void export_ceilings(Napi::Env env, Napi::Object exports) {
  exports.Set("createCeilings",
              Napi::Function::New(env, [](Info info) { return guarded(info.Env(), [&] { return create_ceilings(info); }); }, "createCeilings"));
}

}  // namespace m2::napi
