// One call of the ops door: every tensor of the argument object is uploaded (outputs too: what an op leaves alone keeps its bytes), the op runs, outputs
// come back into the caller's arrays. Each device copy is followed by guard bytes of ones (NaN as f32 and bf16, -1 as i32): an op that reads past an
// input spoils its result, one that writes past a tensor is reported. Functions return the microseconds of the op alone.
#include "napi/ops.h"

#include <chrono>
#include <cstring>
#include <deque>
#include <functional>
#include <map>

#include "napi/convert.h"

namespace m2::napi {
namespace {

constexpr size_t kGuardBytes = 256;

// What packed weights and KV caches are to JavaScript: opaque, freed by the garbage collector, keeping their backend alive.
struct WeightHandle {
  std::shared_ptr<Backend> backend;
  Weight weight;
};
struct KvHandle {
  std::shared_ptr<Backend> backend;
  Buffer memory, scales;
  KvCache cache;
};

template <class Handle>
Napi::Value to_js(Napi::Env env, Handle handle, size_t bytes) {
  Napi::MemoryManagement::AdjustExternalMemory(env, static_cast<int64_t>(bytes));
  return Napi::External<Handle>::New(env, new Handle(std::move(handle)), [bytes](Napi::Env e, Handle* h) {
    delete h;
    Napi::MemoryManagement::AdjustExternalMemory(e, -static_cast<int64_t>(bytes));
  });
}

template <class Handle>
Handle& handle_of(const Napi::Value& value, const char* name) {
  expect(value.IsExternal(), name, " must be a handle made by this door");
  return *value.As<Napi::External<Handle>>().Data();
}

DType dtype_of(const Napi::Object& tensor, const Napi::TypedArray& data, const char* name) {
  if (tensor.Has("dtype")) {
    expect(string_of(tensor, "dtype") == "f16" && data.TypedArrayType() == napi_uint16_array, name, ".dtype can only make an Uint16Array f16");
    return DType::kF16;
  }
  switch (data.TypedArrayType()) {
    case napi_float32_array: return DType::kF32;
    case napi_uint16_array: return DType::kBf16;
    case napi_int32_array: return DType::kI32;
    case napi_uint8_array: return DType::kF8E4m3;
    default: fail("DEVICE_ERROR", "internal: ", name, ".data has no dtype here: ", array_type_name(data.TypedArrayType()));
  }
}

// The memory of a JavaScript tensor { data, shape, dtype? } as a view.
View host_view(const Napi::Object& arguments, const char* name) {
  const Napi::Value value = arguments.Get(name);
  expect(value.IsObject() && value.As<Napi::Object>().Get("data").IsTypedArray() && value.As<Napi::Object>().Get("shape").IsArray(), name,
         " must be a tensor { data, shape }");
  const auto tensor = value.As<Napi::Object>();
  const auto data = tensor.Get("data").As<Napi::TypedArray>();
  const auto shape = tensor.Get("shape").As<Napi::Array>();
  View view;
  expect(shape.Length() <= view.sizes.size(), name, " must have at most 4 dimensions, found ", shape.Length());
  view.dtype = dtype_of(tensor, data, name);
  view.rank = static_cast<int>(shape.Length());
  for (int i = 0; i < view.rank; i++) view.sizes[i] = shape.Get(i).As<Napi::Number>().Int64Value();
  expect(view.numel() == static_cast<int64_t>(data.ElementLength()), name, " must hold ", view.numel(), " elements, found ", data.ElementLength());
  view.data = static_cast<char*>(data.ArrayBuffer().Data()) + data.ByteOffset();
  return view;
}

class Call {
 public:
  Call(Backend& backend, Napi::Object arguments) : backend_(backend), arguments_(arguments) {}

  const Napi::Object& arguments() const { return arguments_; }
  bool has(const char* name) const { return !arguments_.Get(name).IsUndefined(); }

  View input(const char* name) {
    const View host = host_view(arguments_, name);
    View view = host;
    view.data = stage(name, host.data, static_cast<size_t>(host.numel()) * dtype_bytes(host.dtype));
    return view;
  }
  View optional_input(const char* name) { return has(name) ? input(name) : View(); }

  View output(const char* name) {
    void* host = host_view(arguments_, name).data;
    View view = input(name);
    staged_.back().output = host;
    return view;
  }
  View optional_output(const char* name) { return has(name) ? output(name) : View(); }

  const Weight* weight() const { return &handle_of<WeightHandle>(arguments_.Get("weight"), "weight").weight; }
  KvCache kv() const { return handle_of<KvHandle>(arguments_.Get("kv"), "kv").cache; }
  float number(const char* name) const { return static_cast<float>(number_of(arguments_, name)); }
  int64_t integer(const char* name) const { return integer_of(arguments_, name); }

  void* stage(const char* name, const void* host, size_t bytes) {
    Staged& staged = staged_.emplace_back(Staged{name, backend_.allocate(bytes + kGuardBytes), bytes, nullptr});
    backend_.upload(staged.memory.data(), host, bytes);
    backend_.upload(static_cast<char*>(staged.memory.data()) + bytes, guard().data(), kGuardBytes);
    return staged.memory.data();
  }

  // Outputs return into the caller's arrays.
  void fetch() {
    for (const Staged& s : staged_) {
      std::array<unsigned char, kGuardBytes> after;
      backend_.download(after.data(), static_cast<char*>(s.memory.data()) + s.bytes, kGuardBytes);
      expect(after == guard(), "the op wrote past the end of ", s.name);
      if (s.output) backend_.download(s.output, s.memory.data(), s.bytes);
    }
  }

 private:
  struct Staged {
    const char* name;
    Buffer memory;
    size_t bytes;
    void* output;  // where the bytes return to; null for inputs
  };

  static const std::array<unsigned char, kGuardBytes>& guard() {
    static const auto ones = [] {
      std::array<unsigned char, kGuardBytes> bytes;
      bytes.fill(0xff);
      return bytes;
    }();
    return ones;
  }

  Backend& backend_;
  Napi::Object arguments_;
  std::deque<Staged> staged_;
};

// The op of a call, its arguments on the device.
using Op = std::function<void()>;

Op embed(Backend& backend, Call& call) {
  const EmbedArgs a{
      .token_ids = call.input("tokenIds"), .last_ids = call.optional_input("lastIds"), .table = call.input("table"), .out = call.output("out")};
  return [&backend, a] { backend.embed(a); };
}

Op rms_norm(Backend& backend, Call& call) {
  const RmsNormArgs a{.x = call.input("x"),
                      .rows = call.optional_input("rows"),
                      .weight = call.input("weight"),
                      .eps = call.number("eps"),
                      .out = call.output("out"),
                      .out_bf16 = call.optional_output("outBf16")};
  return [&backend, a] { backend.rms_norm(a); };
}

Op linear(Backend& backend, Call& call) {
  const LinearArgs a{.x = call.input("x"),
                     .weight = call.weight(),
                     .out = call.output("out"),
                     .accumulate = call.arguments().Get("accumulate").ToBoolean().Value()};
  return [&backend, a] { backend.linear(a); };
}

Op qk_norm_rope_store(Backend& backend, Call& call) {
  const QkNormRopeStoreArgs a{.qkv = call.input("qkv"),
                              .q_weight = call.input("qWeight"),
                              .k_weight = call.input("kWeight"),
                              .eps = call.number("eps"),
                              .positions = call.input("positions"),
                              .rope = call.input("rope"),
                              .slot_mapping = call.input("slotMapping"),
                              .kv = call.kv(),
                              .layer = call.integer("layer"),
                              .q = call.output("q")};
  return [&backend, a] { backend.qk_norm_rope_store(a); };
}

Op attention(Backend& backend, Call& call) {
  const AttentionArgs a{.q = call.input("q"),
                        .kv = call.kv(),
                        .layer = call.integer("layer"),
                        .page_tables = call.input("pageTables"),
                        .rows = call.input("rows"),
                        .cu_seqlens_q = call.input("cuSeqlensQ"),
                        .context_lens = call.input("contextLens"),
                        .max_queries = call.integer("maxQueries"),
                        .scale = call.number("scale"),
                        .out = call.output("out"),
                        .rounds = call.arguments().Get("rounds").ToBoolean().Value()};
  return [&backend, a] { backend.attention(a); };
}

Op route(Backend& backend, Call& call) {
  const RouteArgs a{.x = call.input("x"),
                    .norm = call.input("norm"),
                    .eps = call.number("eps"),
                    .gate = call.input("gate"),
                    .bias = call.input("bias"),
                    .live = call.optional_input("live"),
                    .room = call.output("room"),
                    .h = call.output("h"),
                    .expert_ids = call.output("expertIds"),
                    .weights = call.output("weights"),
                    .offsets = call.output("offsets"),
                    .source = call.output("source"),
                    .target = call.output("target")};
  return [&backend, a] { backend.route(a); };
}

Op grouped_gate_up(Backend& backend, Call& call) {
  const GroupedGateUpArgs a{.x = call.input("x"),
                            .source = call.input("source"),
                            .offsets = call.input("offsets"),
                            .weight = call.weight(),
                            .out = call.output("out")};
  return [&backend, a] { backend.grouped_gate_up(a); };
}

Op grouped_linear(Backend& backend, Call& call) {
  const GroupedLinearArgs a{.x = call.input("x"), .offsets = call.input("offsets"), .weight = call.weight(), .out = call.output("out")};
  return [&backend, a] { backend.grouped_linear(a); };
}

Op unpermute(Backend& backend, Call& call) {
  const UnpermuteArgs a{.y = call.input("y"), .target = call.input("target"), .weights = call.input("weights"), .out = call.output("out")};
  return [&backend, a] { backend.unpermute(a); };
}

Op experts_down(Backend& backend, Call& call) {
  const ExpertsDownArgs a{.x = call.input("x"),
                          .offsets = call.input("offsets"),
                          .weight = call.weight(),
                          .y = call.output("y"),
                          .target = call.input("target"),
                          .weights = call.input("weights"),
                          .out = call.output("out")};
  return [&backend, a] { backend.experts_down(a); };
}

Op set_pages(Backend& backend, Call& call) {
  const SetPagesArgs a{.updates = call.input("updates"), .page_tables = call.output("pageTables")};
  return [&backend, a] { backend.set_pages(a); };
}

Op start_histories(Backend& backend, Call& call) {
  const StartHistoriesArgs a{.rows = call.input("rows"),
                             .offsets = call.input("offsets"),
                             .generated = call.input("generated"),
                             .ids = call.input("ids"),
                             .history = call.output("history")};
  return [&backend, a] { backend.start_histories(a); };
}

Op sample(Backend& backend, Call& call) {
  const View logits = call.input("logits");
  const auto options = sampling_options(span_of<float>(call.arguments(), "samplingFloats"), span_of<int32_t>(call.arguments(), "samplingInts"));
  expect(logits.rank == 2 && static_cast<int64_t>(options.size()) == logits.size(0), "sampling columns must have a row for each row of logits, found ", options.size());
  const SampleArgs a{.logits = logits,
                     .banned = call.optional_input("banned"),
                     .options = static_cast<const SamplingOptions*>(call.stage("sampling", options.data(), options.size() * sizeof(SamplingOptions))),
                     .rows = call.input("rows"),
                     .last_ids = call.output("lastIds"),
                     .history = call.optional_output("history"),
                     .bias_offsets = call.optional_input("biasOffsets"),
                     .bias_ids = call.optional_input("biasIds"),
                     .bias_values = call.optional_input("biasValues"),
                     .mask_index = call.optional_input("maskIndex"),
                     .mask_bits = call.optional_input("maskBits"),
                     .targets = call.optional_input("targets"),
                     .ids = call.output("ids"),
                     .logprobs = call.optional_output("logprobs"),
                     .top_ids = call.optional_output("topIds"),
                     .top_logprobs = call.optional_output("topLogprobs")};
  return [&backend, a] { backend.sample(a); };
}

using Info = const Napi::CallbackInfo&;

Napi::Value allocate_weight(std::shared_ptr<Backend> backend, Info info) {
  const auto arguments = info[0].As<Napi::Object>();
  const std::string layout = string_of(arguments, "layout");
  expect(layout == "rows" || layout == "gateUp", "layout must be \"rows\" or \"gateUp\", found \"", layout, "\"");
  const std::string format = arguments.Has("format") ? string_of(arguments, "format") : "bf16";
  expect(format == "bf16" || format == "fp8" || format == "int4", "format must be \"bf16\", \"fp8\" or \"int4\", found \"", format, "\"");
  WeightType type;
  if (format == "fp8") type.format = WeightFormat::kFp8;
  if (format == "int4") type = {WeightFormat::kInt4, integer_of(arguments, "group"), arguments.Get("zeros").ToBoolean()};
  type.fp8_rows = arguments.Get("fp8Rows").ToBoolean();
  WeightHandle handle{backend, backend->allocate_weight(integer_of(arguments, "experts"), integer_of(arguments, "n"), integer_of(arguments, "k"),
                                                        layout == "rows" ? WeightLayout::kRows : WeightLayout::kGateUp, type)};
  const size_t bytes = handle.weight.data.bytes();
  return to_js(info.Env(), std::move(handle), bytes);
}

// (weight, expert, firstRow, { values, scales?, zeros?, group? })
Napi::Value pack(std::shared_ptr<Backend> backend, Info info) {
  const auto from = info[3].As<Napi::Object>();
  const auto optional = [&](const char* name) { return from.Has(name) ? host_view(from, name) : View(); };
  MatrixRows rows{.values = host_view(from, "values"), .scales = optional("scales"), .zeros = optional("zeros"), .group = from.Has("group") ? integer_of(from, "group") : 0};
  if (rows.group != 0) rows.values.dtype = rows.zeros.dtype = DType::kU8;  // bytes are codes where there is a group
  backend->pack(handle_of<WeightHandle>(info[0], "weight").weight, info[1].As<Napi::Number>().Int64Value(), info[2].As<Napi::Number>().Int64Value(), rows);
  return info.Env().Undefined();
}

Napi::Value create_kv(std::shared_ptr<Backend> backend, Info info) {
  const auto arguments = info[0].As<Napi::Object>();
  const std::string dtype = string_of(arguments, "dtype");
  expect(dtype == "f32" || dtype == "bf16" || dtype == "fp8", "dtype must be \"f32\", \"bf16\" or \"fp8\", found \"", dtype, "\"");
  KvCache cache{.dtype = dtype == "f32" ? DType::kF32 : dtype == "bf16" ? DType::kBf16 : DType::kF8E4m3,
                .pages = integer_of(arguments, "pages"),
                .layers = integer_of(arguments, "layers"),
                .heads = integer_of(arguments, "heads"),
                .page_size = integer_of(arguments, "pageSize"),
                .head_dim = integer_of(arguments, "headDim")};
  const size_t bytes = static_cast<size_t>(cache.pages * cache.page_elements()) * dtype_bytes(cache.dtype);
  Buffer memory = backend->allocate(bytes);
  cache.data = memory.data();
  Buffer scales;
  if (arguments.Has("scales")) {
    const std::span<float> values = span_of<float>(arguments, "scales");
    expect(static_cast<int64_t>(values.size()) == cache.scale_count(), "scales must have ", cache.scale_count(), " values, found ", values.size());
    scales = backend->allocate(values.size_bytes());
    backend->upload(scales.data(), values.data(), values.size_bytes());
    cache.scales = static_cast<const float*>(scales.data());
  }
  return to_js(info.Env(), KvHandle{backend, std::move(memory), std::move(scales), cache}, bytes);
}

// The whole cache, in either direction: (kv, { data })
template <bool kWrite>
Napi::Value copy_kv(std::shared_ptr<Backend> backend, Info info) {
  KvHandle& kv = handle_of<KvHandle>(info[0], "kv");
  const View data = host_view(info[1].As<Napi::Object>(), "data");
  const size_t bytes = static_cast<size_t>(data.numel()) * dtype_bytes(data.dtype);
  expect(data.dtype == kv.cache.dtype && bytes == kv.memory.bytes(), "data must be the whole cache: ", kv.memory.bytes(), " bytes of ",
         dtype_name(kv.cache.dtype), ", found ", bytes, " of ", dtype_name(data.dtype));
  if constexpr (kWrite) {
    backend->upload(kv.memory.data(), data.data, bytes);
  } else {
    backend->download(data.data, kv.memory.data(), bytes);
  }
  return info.Env().Undefined();
}

// (weight): random numbers that the device makes
Napi::Value randomize_weight(std::shared_ptr<Backend> backend, Info info) {
  backend->fill_random(handle_of<WeightHandle>(info[0], "weight").weight, 1);
  return info.Env().Undefined();
}

// (kv, scale): random numbers that the device makes
Napi::Value randomize_kv(std::shared_ptr<Backend> backend, Info info) {
  const KvHandle& kv = handle_of<KvHandle>(info[0], "kv");
  backend->fill_random(kv.memory.data(), kv.cache.dtype, kv.cache.pages * kv.cache.page_elements(), info[1].As<Napi::Number>().FloatValue(), 2);
  return info.Env().Undefined();
}

// (bytes, repeats): microseconds of a copy within the device
Napi::Value time_copy(std::shared_ptr<Backend> backend, Info info) {
  const size_t bytes = static_cast<size_t>(info[0].As<Napi::Number>().Int64Value());
  const Buffer from = backend->allocate(bytes), to = backend->allocate(bytes);
  backend->fill_random(from.data(), DType::kBf16, static_cast<int64_t>(bytes / sizeof(bf16)), 1, 3);
  return Napi::Number::New(info.Env(), backend->time(info[1].As<Napi::Number>().Int32Value(), [&](int) { backend->copy(to.data(), from.data(), bytes); }));
}

using MakeOp = Op (*)(Backend&, Call&);
const std::map<std::string, MakeOp> kOps = {
    {"embed", embed},
    {"rmsNorm", rms_norm},
    {"linear", linear},
    {"qkNormRopeStore", qk_norm_rope_store},
    {"attention", attention},
    {"route", route},
    {"groupedGateUp", grouped_gate_up},
    {"groupedLinear", grouped_linear},
    {"unpermute", unpermute},
    {"expertsDown", experts_down},
    {"setPages", set_pages},
    {"startHistories", start_histories},
    {"sample", sample},
};

// (arguments): microseconds of the op, seen from the host
Napi::Value run_op(Backend& backend, MakeOp make, Info info) {
  Call call(backend, info[0].As<Napi::Object>());
  const Op op = make(backend, call);
  const auto begin = std::chrono::steady_clock::now();
  op();
  backend.wait(backend.set_mark());
  const std::chrono::duration<double, std::micro> elapsed = std::chrono::steady_clock::now() - begin;
  call.fetch();
  return Napi::Number::New(info.Env(), elapsed.count());
}

// (name, [arguments, ..], repeats): microseconds of the op on the device, over sets of arguments in turn, so that none finds its own in a cache
Napi::Value time_op(std::shared_ptr<Backend> backend, Info info) {
  const std::string name = info[0].As<Napi::String>();
  const auto made = kOps.find(name);
  expect(made != kOps.end(), "time: there is no op ", name);
  const auto sets = info[1].As<Napi::Array>();
  std::deque<Call> calls;
  std::vector<Op> ops;
  for (uint32_t i = 0; i < sets.Length(); i++) ops.push_back(made->second(*backend, calls.emplace_back(*backend, Napi::Value(sets[i]).As<Napi::Object>())));
  expect(!ops.empty(), "time needs at least one set of arguments");
  return Napi::Number::New(info.Env(), backend->time(info[2].As<Napi::Number>().Int32Value(), [&](int repeat) { ops[repeat % ops.size()](); }));
}

Napi::Value create_ops(Info info) {
  const Napi::Env env = info.Env();
  const std::shared_ptr<Backend> backend = make_backend(info[0].As<Napi::String>(), info[1].As<Napi::Number>().Int32Value());
  Napi::Object ops = Napi::Object::New(env);
  ops.Set("device", backend->device());
  ops.Set("description", backend->description());
  ops.Set("activations", dtype_name(backend->activations()));

  const auto add = [&](const char* name, auto body) {
    ops.Set(name, Napi::Function::New(env, [backend, body](Info call) { return guarded(call.Env(), [&] { return body(backend, call); }); }, name));
  };
  add("allocateWeight", allocate_weight);
  add("pack", pack);
  add("randomizeWeight", randomize_weight);
  add("createKv", create_kv);
  add("writeKv", copy_kv<true>);
  add("readKv", copy_kv<false>);

  for (const auto& [name, op] : kOps) {
    add(name.c_str(), [op = op](const std::shared_ptr<Backend>& on, Info info) -> Napi::Value { return run_op(*on, op, info); });
  }
  add("randomizeKv", randomize_kv);
  add("time", time_op);
  add("timeCopy", time_copy);
  return ops;
}

}  // namespace

void export_ops(Napi::Env env, Napi::Object exports) {
  exports.Set("createOps", Napi::Function::New(env, [](Info info) { return guarded(info.Env(), [&] { return create_ops(info); }); }, "createOps"));
}

}  // namespace m2::napi
