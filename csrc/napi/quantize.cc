// The quantising door: one call per file of the result, on a thread of its own.
#include "napi/quantize.h"

#include <atomic>
#include <memory>

#include "model/shard_writer.h"
#include "napi/convert.h"
#include "napi/weight_plan.h"
#include "napi/worker.h"

namespace m2::napi {
namespace {

struct Writing {
  explicit Writing(Napi::Env env) : worker(env) {}
  Worker worker;
  std::atomic<bool> cancelled{false};
};

Shard shard_of(const Napi::Object& o) {
  const std::span<uint8_t> header = span_of<uint8_t>(o, "header");
  const std::span<int32_t> sources = span_of<int32_t>(o, "sources"), actions = span_of<int32_t>(o, "actions");
  const std::span<double> offsets = span_of<double>(o, "offsets");
  expect(actions.size() == sources.size() && offsets.size() == 3 * sources.size(), "a shard has ", sources.size(), " sources, ", actions.size(), " actions and ", offsets.size(), " offsets");
  Shard shard{string_of(o, "path"), {header.begin(), header.end()}, {}};
  for (size_t i = 0; i < sources.size(); i++) {
    expect(actions[i] >= 0 && actions[i] <= static_cast<int32_t>(ShardAction::kInt4), "a shard has action ", actions[i]);
    const auto offset = [&](size_t which) { return static_cast<uint64_t>(offsets[3 * i + which]); };
    shard.tensors.push_back({sources[i], static_cast<ShardAction>(actions[i]), offset(0), offset(1), offset(2)});
  }
  return shard;
}

// (table, shard, progress) -> { done: promise of losses, cancel() }, as lib/native.ts types it.
Napi::Value quantize_shard(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    expect(info[0].IsObject() && info[1].IsObject() && info[2].IsFunction(), "quantizeShard needs a table, a shard and a progress function");
    const auto writing = std::make_shared<Writing>(env);
    auto on_progress = std::make_shared<Napi::FunctionReference>(Napi::Persistent(info[2].As<Napi::Function>()));
    const Napi::Promise promise = writing->worker.run(env, [writing, on_progress, plan = plan_of(info[0]), shard = shard_of(info[1].As<Napi::Object>())]() -> Worker::Result {
      const std::vector<Int4Error> losses = write_shard(plan, shard, [&] { return writing->cancelled.load(); }, throttled(writing->worker, on_progress));
      std::vector<double> columns;
      for (const Int4Error& e : losses) columns.insert(columns.end(), {e.squared_error, e.squared_weight, static_cast<double>(e.groups), static_cast<double>(e.clipped)});
      return [writing, columns](Napi::Env env) -> Napi::Value {
        writing->worker.stop();
        return typed_array(env, columns);
      };
    });
    Napi::Object o = Napi::Object::New(env);
    o.Set("done", promise);
    o.Set("cancel", Napi::Function::New(env, [writing](const Napi::CallbackInfo& call) {
      writing->cancelled = true;
      return call.Env().Undefined();
    }, "cancel"));
    return o;
  });
}

}  // namespace

void export_quantize(Napi::Env env, Napi::Object exports) { exports.Set("quantizeShard", Napi::Function::New(env, quantize_shard, "quantizeShard")); }

}  // namespace m2::napi
