// createEncoder: the door to text::Encoder.
#pragma once
#include <napi.h>

namespace m2::napi {

void export_tokenizer(Napi::Env, Napi::Object exports);

}  // namespace m2::napi
