#include "napi/ceilings.h"
#include "napi/model.h"
#include "napi/ops.h"
#include "napi/probe.h"
#include "napi/quantize.h"
#include "napi/tokenizer.h"

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  m2::napi::export_ceilings(env, exports);
  m2::napi::export_model(env, exports);
  m2::napi::export_ops(env, exports);
  m2::napi::export_probe(env, exports);
  m2::napi::export_quantize(env, exports);
  m2::napi::export_tokenizer(env, exports);
  return exports;
}

NODE_API_MODULE(addon, init)
