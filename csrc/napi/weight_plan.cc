#include "napi/weight_plan.h"

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "napi/convert.h"

namespace m2::napi {
namespace {

std::vector<std::string> strings_of(const Napi::Object& o, const char* name) {
  const Napi::Value value = o.Get(name);
  expect(value.IsArray(), name, " must be an array");
  const auto array = value.As<Napi::Array>();
  std::vector<std::string> strings(array.Length());
  for (uint32_t i = 0; i < array.Length(); i++) {
    const Napi::HandleScope scope(o.Env());
    strings[i] = Napi::Value(array[i]).ToString();
  }
  return strings;
}

std::vector<WeightType> held_of(std::span<const int32_t> columns) {
  expect(columns.size() % 4 == 0, "held has ", columns.size(), " values, expected four for each weight");
  std::vector<WeightType> held;
  for (; !columns.empty(); columns = columns.subspan(4)) {
    expect(columns[0] >= 0 && columns[0] <= static_cast<int32_t>(WeightFormat::kInt4), "held has format ", columns[0]);
    held.push_back({.format = static_cast<WeightFormat>(columns[0]), .group = columns[1], .zeros = columns[2] != 0, .fp8_rows = columns[3] != 0});
  }
  return held;
}

}  // namespace

WeightPlan plan_of(const Napi::Value& value) {
  const Napi::Object o = value.ToObject();
  std::vector<WeightType> held = o.Has("held") ? held_of(span_of<int32_t>(o, "held")) : std::vector<WeightType>();
  if (o.Has("random")) return {.files = {}, .tensors = {}, .held = std::move(held), .random = true};
  WeightPlan plan{.files = strings_of(o, "files"), .tensors = {}, .held = std::move(held)};
  const std::vector<std::string> names = strings_of(o, "names");
  constexpr size_t kParts = 4;  // lib/native.ts's PARTS
  const auto column = [&]<class T>(const char* name, T, size_t width = 1) {
    const std::span<T> span = span_of<T>(o, name);
    expect(span.size() == width * names.size(), name, " has ", span.size(), " values for ", names.size(), " tensors");
    return span;
  };
  const auto ints = [&](const char* name) { return column(name, int32_t{}); };
  const auto kind = ints("kind"), layer = ints("layer"), expert = ints("expert"), form = ints("form"), rows = ints("rows"), cols = ints("cols"), group = ints("group"),
             symmetric = ints("symmetric"), scale_dtype = ints("scaleDtype"), file = column("file", int32_t{}, kParts);
  const auto offset = column("offset", double{}, kParts);
  plan.tensors.reserve(names.size());
  for (size_t i = 0; i < names.size(); i++) {
    expect(kind[i] >= 0 && kind[i] < kTensorKinds && form[i] >= 0 && form[i] < kForms && scale_dtype[i] >= 0, "tensor ", names[i], " has kind ", kind[i], ", form ", form[i], ", scales of ", scale_dtype[i]);
    const auto place = [&](size_t part) {
      const double at = offset[i * kParts + part];
      expect(at >= 0, "tensor ", names[i], " has offset ", at);
      return Place{file[i * kParts + part], static_cast<uint64_t>(at)};
    };
    plan.tensors.push_back({.name = names[i], .kind = static_cast<TensorKind>(kind[i]), .layer = layer[i], .expert = expert[i], .form = static_cast<Form>(form[i]), .rows = rows[i], .cols = cols[i],
                            .values = place(0), .scales = place(1), .zeros = place(2), .group_index = place(3), .group = group[i], .symmetric = symmetric[i] != 0,
                            .scale_dtype = static_cast<DType>(scale_dtype[i])});
  }
  return plan;
}

Progress throttled(Worker& worker, std::shared_ptr<Napi::FunctionReference> report) {
  return [&worker, report, last = std::chrono::steady_clock::time_point()](uint64_t done, uint64_t total) mutable {
    const auto now = std::chrono::steady_clock::now();
    if (done < total && now - last < std::chrono::milliseconds(50)) return;
    last = now;
    worker.report([report, done, total](Napi::Env env) {
      report->Call({Napi::Number::New(env, static_cast<double>(done)), Napi::Number::New(env, static_cast<double>(total))});
    });
  };
}

}  // namespace m2::napi
