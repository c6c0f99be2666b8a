// The ops door: every op of a Backend as a synchronous function over typed arrays, for tests and benches only.
#pragma once
#include <napi.h>

namespace m2::napi {

// Adds createOps(device, threads), typed in lib/ops.ts.
void export_ops(Napi::Env env, Napi::Object exports);

}  // namespace m2::napi
