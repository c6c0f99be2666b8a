// createCeilings: the door to cpu/ceilings.h, for the benches.
#pragma once
#include <napi.h>

namespace m2::napi {

void export_ceilings(Napi::Env, Napi::Object exports);

}  // namespace m2::napi
