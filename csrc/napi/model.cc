#include "napi/model.h"

#include <memory>
#include <optional>

#include "model/m2.h"
#include "napi/convert.h"
#include "napi/weight_plan.h"
#include "napi/worker.h"

namespace m2::napi {
namespace {

Geometry geometry_of(const Napi::Object& o) {
  const auto integer = [&](const char* name) { return integer_of(o, name); };
  return {.vocab = integer("vocabSize"), .hidden = integer("hiddenSize"), .layers = integer("layers"), .heads = integer("heads"), .kv_heads = integer("kvHeads"),
          .head_dim = integer("headDim"), .rotary_dim = integer("rotaryDim"), .experts = integer("experts"), .experts_per_token = integer("expertsPerToken"),
          .expert_hidden = integer("expertHidden"), .rope_theta = number_of(o, "ropeTheta"), .rms_norm_eps = static_cast<float>(number_of(o, "rmsNormEps"))};
}

Capacity capacity_of(const Napi::Object& o) {
  const std::string kv = string_of(o, "kvDtype");
  if (kv != "f32" && kv != "bf16" && kv != "fp8") fail("BAD_OPTION", "kvDtype is \"", kv, "\", expected \"f32\", \"bf16\" or \"fp8\"");
  return {.kv_dtype = kv == "f32" ? DType::kF32 : kv == "bf16" ? DType::kBf16 : DType::kF8E4m3, .page_size = integer_of(o, "pageSize"), .pages = integer_of(o, "pages"),
          .max_context = integer_of(o, "maxContext"), .max_sequences = integer_of(o, "maxSequences"), .max_step_tokens = integer_of(o, "maxStepTokens"),
          .banned_ids = copied<int32_t>(o, "bannedIds"), .keep_routes = o.Get("keepRoutes").ToBoolean().Value()};
}

Batch batch_of(const Napi::Object& o) {
  const auto ints = [&](const char* name) { return copied<int32_t>(o, name); };
  return {.token_ids = ints("tokenIds"), .positions = ints("positions"), .slot_mapping = ints("slotMapping"), .cu_seqlens_q = ints("cuSeqlensQ"),
          .context_lens = ints("contextLens"), .rows = ints("rows"), .page_updates = ints("pageUpdates"), .sample_at = ints("sampleAt"), .sample_row = ints("sampleRow"),
          .sampling = sampling_options(span_of<float>(o, "samplingFloats"), span_of<int32_t>(o, "samplingInts")), .bias_offsets = ints("biasOffsets"),
          .bias_ids = ints("biasIds"), .bias_values = copied<float>(o, "biasValues"), .mask_samples = ints("maskSamples"), .mask_bits = ints("maskBits"), .history_rows = ints("historyRows"), .history_offsets = ints("historyOffsets"),
          .history_generated = ints("historyGenerated"), .history_ids = ints("historyIds"), .score_at = ints("scoreAt"), .score_ids = ints("scoreIds")};
}

Worker::Result step_result(StepResult result) {
  return [result = std::move(result)](Napi::Env env) -> Napi::Value {
    Napi::Object o = Napi::Object::New(env);
    o.Set("ids", typed_array(env, result.ids));
    o.Set("logprobs", typed_array(env, result.logprobs));
    o.Set("topIds", typed_array(env, result.top_ids));
    o.Set("topLogprobs", typed_array(env, result.top_logprobs));
    o.Set("scores", typed_array(env, result.scores));
    o.Set("routes", typed_array(env, result.routes));
    o.Set("startedAt", result.started_at);
    o.Set("endedAt", result.ended_at);
    return o;
  };
}

Napi::Value undefined(Napi::Env env) { return env.Undefined(); }

// A loaded model and its thread: the model is made and used on that thread only.
struct Session {
  explicit Session(Napi::Env env) : worker(env) {}
  Worker worker;
  std::unique_ptr<Model> model;
  Napi::Reference<Napi::Promise> closing;
};
using SharedSession = std::shared_ptr<Session>;

// Keeps the session alive until the promise settles; the capture dies on the JavaScript thread.
Worker::Result holding(SharedSession session, Worker::Result result) {
  return [session = std::move(session), result = std::move(result)](Napi::Env env) { return result(env); };
}

Napi::Value forward(const SharedSession& session, const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!session->closing.IsEmpty()) fail("CLOSED", "the model is closed");
  expect(info[0].IsObject(), "forward needs a batch");
  return session->worker.begin(env, [session, batch = batch_of(info[0].As<Napi::Object>())]() -> Worker::Begun {
    session->model->start(batch);
    return {[session] { return session->model->ready(); }, [session] { return holding(session, step_result(session->model->finish())); }};
  });
}

Napi::Value measure_kv(const SharedSession& session, const Napi::CallbackInfo& info) {
  if (!session->closing.IsEmpty()) fail("CLOSED", "the model is closed");
  return session->worker.run(info.Env(), [session, ids = copied<int32_t>(info[0], "ids")] {
    return holding(session, [sizes = session->model->measure_kv(ids)](Napi::Env env) { return typed_array(env, sizes); });
  });
}

Napi::Value set_kv_scales(const SharedSession& session, const Napi::CallbackInfo& info) {
  if (!session->closing.IsEmpty()) fail("CLOSED", "the model is closed");
  return session->worker.run(info.Env(), [session, scales = copied<float>(info[0], "scales")] {
    session->model->set_kv_scales(scales);
    return holding(session, undefined);
  });
}

Napi::Value copy_pages(const SharedSession& session, const Napi::CallbackInfo& info) {
  if (!session->closing.IsEmpty()) fail("CLOSED", "the model is closed");
  return session->worker.run(info.Env(), [session, from = copied<int32_t>(info[0], "from"), to = copied<int32_t>(info[1], "to")] {
    session->model->copy_pages(from, to);
    return holding(session, undefined);
  });
}

// The thread writes into the array that the promise resolves with: what may be hundreds of megabytes is not copied on the JavaScript thread.
Napi::Value read_pages(const SharedSession& session, const Napi::CallbackInfo& info) {
  if (!session->closing.IsEmpty()) fail("CLOSED", "the model is closed");
  auto pages = copied<int32_t>(info[0], "pages");
  auto array = Napi::Uint8Array::New(info.Env(), pages.size() * session->model->page_bytes());
  const std::span<uint8_t> bytes(array.Data(), array.ByteLength());
  const auto held = std::make_shared<Napi::Reference<Napi::Uint8Array>>(Napi::Persistent(array));
  return session->worker.run(info.Env(), [session, pages = std::move(pages), bytes, held] {
    session->model->read_pages(pages, bytes);
    return holding(session, [held](Napi::Env) { return held->Value(); });
  });
}

Napi::Value write_pages(const SharedSession& session, const Napi::CallbackInfo& info) {
  if (!session->closing.IsEmpty()) fail("CLOSED", "the model is closed");
  return session->worker.run(info.Env(), [session, pages = copied<int32_t>(info[0], "pages"), bytes = copied<uint8_t>(info[1], "bytes")] {
    session->model->write_pages(pages, bytes);
    return holding(session, undefined);
  });
}

Napi::Value close(const SharedSession& session, const Napi::CallbackInfo& info) {
  if (session->closing.IsEmpty()) {
    const Napi::Promise promise = session->worker.run(info.Env(), [session]() -> Worker::Result {
      session->model.reset();
      return [session](Napi::Env env) {
        session->worker.stop();
        return env.Undefined();
      };
    });
    session->closing = Napi::Reference<Napi::Promise>::New(promise, 1);
  }
  return session->closing.Value();
}

Napi::Object model_object(Napi::Env env, const SharedSession& session) {
  Napi::Object o = Napi::Object::New(env);
  o.Set("device", session->model->device());
  o.Set("description", session->model->description());
  o.Set("weightBytes", static_cast<double>(session->model->weight_bytes()));
  o.Set("kvBytes", static_cast<double>(session->model->kv_bytes()));
  o.Set("pageBytes", static_cast<double>(session->model->page_bytes()));
  o.Set("numerics", session->model->numerics());
  const auto method = [&](const char* name, Napi::Value (*body)(const SharedSession&, const Napi::CallbackInfo&)) {
    o.Set(name, Napi::Function::New(env, [session, body](const Napi::CallbackInfo& info) { return guarded(info.Env(), [&] { return body(session, info); }); }, name));
  };
  method("forward", forward);
  method("measureKv", measure_kv);
  method("setKvScales", set_kv_scales);
  method("copyPages", copy_pages);
  method("readPages", read_pages);
  method("writePages", write_pages);
  method("close", close);
  return o;
}

Napi::Value load_model(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    expect(info[0].IsObject() && info[1].IsFunction(), "loadModel needs options and a progress function");
    const auto o = info[0].As<Napi::Object>();
    const auto session = std::make_shared<Session>(env);
    auto on_progress = std::make_shared<Napi::FunctionReference>(Napi::Persistent(info[1].As<Napi::Function>()));
    return session->worker.run(env, [session, on_progress, device = string_of(o, "device"), threads = static_cast<int>(integer_of(o, "threads")),
                                     geometry = geometry_of(o.Get("geometry").ToObject()), capacity = capacity_of(o), plan = plan_of(o.Get("weights"))]() -> Worker::Result {
      session->model = std::make_unique<Model>(make_backend(device, threads), geometry, capacity, plan, throttled(session->worker, on_progress));
      return [session](Napi::Env env) -> Napi::Value { return model_object(env, session); };
    });
  });
}

}  // namespace

void export_model(Napi::Env env, Napi::Object exports) { exports.Set("loadModel", Napi::Function::New(env, load_model, "loadModel")); }

}  // namespace m2::napi
