#pragma once
#include <napi.h>

namespace m2::napi {

void export_quantize(Napi::Env, Napi::Object exports);

}  // namespace m2::napi
