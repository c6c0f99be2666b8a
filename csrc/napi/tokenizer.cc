#include "napi/tokenizer.h"

#include <algorithm>
#include <memory>

#include "napi/convert.h"
#include "text/encoder.h"

namespace m2::napi {
namespace {

std::u16string utf16_of(const Napi::Value& value, const char* name) {
  expect(value.IsString(), name, " must be a string");
  return value.As<Napi::String>();
}

bool boolean_of(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  expect(value.IsBoolean(), name, " must be a boolean");
  return value.As<Napi::Boolean>();
}

text::EncoderOptions encoder_options(const Napi::Object& o) {
  const std::span<int32_t> ids = span_of<int32_t>(o, "addedIds");
  const Napi::Value contents = o.Get("addedContents");
  expect(contents.IsArray() && contents.As<Napi::Array>().Length() == ids.size(), "addedContents must be an array of ", ids.size(), " strings");
  std::vector<text::Vocabulary::Added> added;
  for (size_t i = 0; i < ids.size(); i++) {
    const Napi::HandleScope scope(o.Env());
    added.push_back({ids[i], utf16_of(contents.As<Napi::Array>()[static_cast<uint32_t>(i)], "an added token")});
  }
  return {.tokens = string_of(o, "tokens"), .merges = string_of(o, "merges"), .added = std::move(added), .pattern = utf16_of(o.Get("pattern"), "pattern"),
          .keep_unmatched = boolean_of(o, "keepUnmatched"), .ignore_merges = boolean_of(o, "ignoreMerges")};
}

template <class T, class From>
Napi::TypedArrayOf<T> typed_array(Napi::Env env, const From& values) {
  auto array = Napi::TypedArrayOf<T>::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

// An encoder whose memory the garbage collector knows of, so that it goes soon after its last user.
class Held {
 public:
  Held(Napi::Env env, const text::EncoderOptions& options) : encoder(options), env_(env), bytes_(static_cast<int64_t>(encoder.bytes())) {
    Napi::MemoryManagement::AdjustExternalMemory(env_, bytes_);
  }
  Held(const Held&) = delete;
  ~Held() { Napi::MemoryManagement::AdjustExternalMemory(env_, -bytes_); }

  text::Encoder encoder;

 private:
  Napi::Env env_;
  int64_t bytes_;
};

// encode(text, special, most): special holds (begin, end) pairs; of more than `most` ids the first most + 1.
Napi::Value encode(const Napi::CallbackInfo& info, text::Encoder& encoder) {
  const std::u16string text = utf16_of(info[0], "text");
  const std::span<int32_t> bounds = span_of<int32_t>(info[1], "special");
  expect(bounds.size() % 2 == 0 && std::is_sorted(bounds.begin(), bounds.end()) && (bounds.empty() || (bounds[0] >= 0 && static_cast<size_t>(bounds.back()) <= text.size())),
         "special must hold ascending pairs of positions within the text");
  std::vector<text::Encoder::Range> special;
  for (size_t i = 0; i < bounds.size(); i += 2) special.push_back({bounds[i], bounds[i + 1]});
  expect(info[2].IsNumber(), "most must be a number");
  return typed_array<int32_t>(info.Env(), encoder.encode(text, special, info[2].As<Napi::Number>().Uint32Value()));
}

Napi::Value create_encoder(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    expect(info[0].IsObject(), "createEncoder takes an object");
    const auto held = std::make_shared<Held>(env, encoder_options(info[0].As<Napi::Object>()));
    const text::Vocabulary& vocabulary = held->encoder.vocabulary();
    Napi::Object object = Napi::Object::New(env);
    object["bytes"] = typed_array<uint8_t>(env, vocabulary.all_bytes());
    object["offsets"] = typed_array<int32_t>(env, vocabulary.offsets());
    object["encode"] = Napi::Function::New(env, [held](const Napi::CallbackInfo& call) { return guarded(call.Env(), [&] { return encode(call, held->encoder); }); }, "encode");
    return object;
  });
}

}  // namespace

void export_tokenizer(Napi::Env env, Napi::Object exports) { exports["createEncoder"] = Napi::Function::New(env, create_encoder, "createEncoder"); }

}  // namespace m2::napi
