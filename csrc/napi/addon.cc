#include "napi/model.h"
#include "napi/ops.h"
#include "napi/probe.h"

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  m2::napi::export_model(env, exports);
  m2::napi::export_ops(env, exports);
  m2::napi::export_probe(env, exports);
  return exports;
}

NODE_API_MODULE(addon, init)
