// loadModel: the door to m2::Model. One coarse call per step; everything is copied at entry.
#pragma once
#include <napi.h>

namespace m2::napi {

void export_model(Napi::Env, Napi::Object exports);

}  // namespace m2::napi
