#include "model/geometry.h"

#include "core/error.h"

namespace m2 {
namespace {

constexpr int64_t kMaxSize = int64_t{1} << 31;

void at_least(const char* code, const char* name, int64_t value, int64_t least) {
  if (value < least || value >= kMaxSize) fail(code, name, " is ", value, ", expected ", least, " to ", kMaxSize - 1);
}

void multiple_of(const char* name, int64_t value, int64_t step) {
  if (value % step != 0) fail("UNSUPPORTED_MODEL", name, " is ", value, ", expected a multiple of ", step);
}

}  // namespace

void check(const Geometry& g) {
  const char* code = "BAD_CHECKPOINT";
  at_least(code, "vocabSize", g.vocab, 1);
  at_least(code, "hiddenSize", g.hidden, 32);
  at_least(code, "layers", g.layers, 1);
  at_least(code, "heads", g.heads, 1);
  at_least(code, "kvHeads", g.kv_heads, 1);
  at_least(code, "headDim", g.head_dim, 32);
  at_least(code, "rotaryDim", g.rotary_dim, 0);
  at_least(code, "experts", g.experts, 1);
  at_least(code, "expertsPerToken", g.experts_per_token, 1);
  at_least(code, "expertHidden", g.expert_hidden, 32);
  multiple_of("hiddenSize", g.hidden, 32);
  multiple_of("expertHidden", g.expert_hidden, 32);
  multiple_of("headDim", g.head_dim, 32);
  multiple_of("rotaryDim", g.rotary_dim, 2);
  if (g.head_dim > 256) fail("UNSUPPORTED_MODEL", "headDim is ", g.head_dim, ", expected at most 256");
  if (g.rotary_dim > g.head_dim) fail(code, "rotaryDim is ", g.rotary_dim, ", expected at most headDim ", g.head_dim);
  if (g.heads % g.kv_heads != 0) fail(code, "heads is ", g.heads, ", expected a multiple of kvHeads ", g.kv_heads);
  if (g.experts_per_token > g.experts) fail(code, "expertsPerToken is ", g.experts_per_token, ", expected at most experts ", g.experts);
}

void check(const Capacity& c, const Geometry& g) {
  const char* code = "BAD_OPTION";
  at_least(code, "pageSize", c.page_size, 1);
  at_least(code, "pages", c.pages, 1);
  at_least(code, "maxContext", c.max_context, 1);
  at_least(code, "maxSequences", c.max_sequences, 1);
  at_least(code, "maxStepTokens", c.max_step_tokens, 1);
  if (c.pages * c.page_size >= kMaxSize) fail(code, "pages * pageSize is ", c.pages * c.page_size, ", expected less than ", kMaxSize);
  for (int32_t id : c.banned_ids)
    if (id < 0 || id >= g.vocab) fail(code, "bannedIds holds ", id, ", expected 0 to ", g.vocab - 1);
}

}  // namespace m2
