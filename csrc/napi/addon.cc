#include <napi.h>

#include "napi/ops.h"

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  m2::napi::export_ops(env, exports);
  return exports;
}

NODE_API_MODULE(addon, init)
