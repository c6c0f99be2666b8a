// JavaScript values to core values and back: typed arrays as spans and views (never copied here), named fields of objects, and errors.
// A field that is missing or of the wrong kind is a bug on our side of the door: DEVICE_ERROR with the name, what was expected and what was found.
#pragma once
#include <napi.h>

#include <cmath>
#include <exception>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "core/ops.h"

namespace m2::napi {

// The JavaScript Error for what was thrown in C++, with the code of the public contract in `code`. Also for exceptions that crossed from another thread.
inline Napi::Error js_error(Napi::Env env, std::exception_ptr thrown) {
  const auto with_code = [&](const std::string& code, const std::string& message) {
    Napi::Error error = Napi::Error::New(env, message);
    error.Set("code", Napi::String::New(env, code));
    return error;
  };
  try {
    std::rethrow_exception(thrown);
  } catch (const Napi::Error& error) {
    return error;
  } catch (const Error& error) {
    return with_code(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return with_code("OUT_OF_MEMORY", "out of memory in the native core");
  } catch (const std::exception& error) {
    return with_code("DEVICE_ERROR", std::string("internal: ") + error.what());
  }
}

// Runs the body of a native function: the one catch of the door.
template <class Body>
auto guarded(Napi::Env env, Body&& body) {
  try {
    return body();
  } catch (...) {
    throw js_error(env, std::current_exception());
  }
}

inline const char* array_type_name(napi_typedarray_type type) {
  constexpr const char* kNames[] = {"Int8Array",   "Uint8Array",   "Uint8ClampedArray", "Int16Array",    "Uint16Array",   "Int32Array",
                                    "Uint32Array", "Float32Array", "Float64Array",      "BigInt64Array", "BigUint64Array"};
  return kNames[type];
}

template <class T>
constexpr napi_typedarray_type kArrayType = napi_float32_array;
template <>
inline constexpr napi_typedarray_type kArrayType<double> = napi_float64_array;
template <>
inline constexpr napi_typedarray_type kArrayType<int32_t> = napi_int32_array;
template <>
inline constexpr napi_typedarray_type kArrayType<uint16_t> = napi_uint16_array;
template <>
inline constexpr napi_typedarray_type kArrayType<uint8_t> = napi_uint8_array;

// The memory of a typed array, valid while JavaScript holds it and does not run.
template <class T>
std::span<T> span_of(const Napi::Value& value, const char* name) {
  expect(value.IsTypedArray(), name, " must be a ", array_type_name(kArrayType<T>));
  const auto array = value.As<Napi::TypedArray>();
  expect(array.TypedArrayType() == kArrayType<T>, name, " must be a ", array_type_name(kArrayType<T>), ", found ", array_type_name(array.TypedArrayType()));
  return {static_cast<T*>(array.ArrayBuffer().Data()) + array.ByteOffset() / sizeof(T), array.ElementLength()};
}
template <class T>
std::span<T> span_of(const Napi::Object& object, const char* name) {
  return span_of<T>(object.Get(name), name);
}

inline double number_of(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  expect(value.IsNumber(), name, " must be a number");
  return value.As<Napi::Number>().DoubleValue();
}
inline int64_t integer_of(const Napi::Object& object, const char* name) {
  const double value = number_of(object, name);
  expect(std::trunc(value) == value && std::abs(value) < 0x1p53, name, " must be an integer, found ", value);
  return static_cast<int64_t>(value);
}
inline std::string string_of(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  expect(value.IsString(), name, " must be a string");
  return value.As<Napi::String>();
}

// Rows of the door's sampling columns: SAMPLING_FLOATS and SAMPLING_INTS in lib/native.ts name them in this order.
inline std::vector<SamplingOptions> sampling_options(std::span<const float> floats, std::span<const int32_t> ints) {
  constexpr size_t kFloats = 6, kInts = 6;
  expect(floats.size() % kFloats == 0 && ints.size() / kInts == floats.size() / kFloats && ints.size() % kInts == 0,
         "sampling columns must be ", kFloats, " floats and ", kInts, " ints per row, found ", floats.size(), " and ", ints.size());
  std::vector<SamplingOptions> rows;
  rows.reserve(floats.size() / kFloats);
  for (; !floats.empty(); floats = floats.subspan(kFloats), ints = ints.subspan(kInts)) {
    const auto word = [&](size_t i) { return static_cast<uint32_t>(ints[i]); };
    rows.push_back({.temperature = floats[0],
                    .top_p = floats[1],
                    .min_p = floats[2],
                    .repetition_penalty = floats[3],
                    .presence_penalty = floats[4],
                    .frequency_penalty = floats[5],
                    .top_k = ints[0],
                    .logprobs = ints[1],
                    .seed = word(2) | static_cast<uint64_t>(word(3)) << 32,
                    .position = word(4),
                    .sample_index = word(5)});
  }
  return rows;
}

template <class T>
std::vector<T> copied(const Napi::Value& value, const char* name) {
  const std::span<T> span = span_of<T>(value, name);
  return {span.begin(), span.end()};
}
template <class T>
std::vector<T> copied(const Napi::Object& object, const char* name) {
  return copied<T>(object.Get(name), name);
}

template <class T>
Napi::Value typed_array(Napi::Env env, const std::vector<T>& values) {
  auto array = Napi::TypedArrayOf<T>::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

}  // namespace m2::napi
