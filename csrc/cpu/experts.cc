// The way of tokens to their experts and back.
#include <utility>

#include "cpu/launchers.h"

namespace m2::cpu {
namespace {

// The experts of the first `tokens` tokens, and their weights.
void choose(Machine& m, const RouteArgs& a, int64_t tokens) {
  const int64_t experts = a.gate.size(0), width = a.x.size(1);
  const RouteTask task{a.room.as<float>(), a.gate.as<float>(), a.bias.as<float>(), width, experts, a.expert_ids.size(1), m.shared(tokens * experts),
                       a.expert_ids.as<int32_t>(), a.weights.as<float>()};
  const int64_t ns = std::max(tokens * experts * width / 24, experts * width / 6);
  constexpr int64_t kTokens = 32, kExperts = 16;  // a task's; one thread takes all at once
  const bool alone = m.pool.useful_threads(ns) == 1;
  const int64_t tall = alone ? tokens : kTokens, wide = alone ? experts : kExperts;
  const int64_t columns = (experts + wide - 1) / wide;
  m.pool.run((tokens + tall - 1) / tall * columns, ns, [&](int64_t i, int) {
    const int64_t t = i / columns * tall, e = i % columns * wide;
    m.kernels.route_scores(task, t, std::min(t + tall, tokens), e, std::min(e + wide, experts));
  });
  m.pool.run((tokens + tall - 1) / tall, tokens * experts * task.active, [&](int64_t i, int) {
    m.kernels.route_choose(task, i * tall, std::min((i + 1) * tall, tokens));
  });
}

// The first `pairs` (token, slot) pairs, sorted by expert.
void permute(const RouteArgs& a, int64_t pairs) {
  const int64_t experts = a.offsets.size(0) - 1;
  const int32_t* ids = a.expert_ids.as<int32_t>();
  int32_t *offsets = a.offsets.as<int32_t>(), *source = a.source.as<int32_t>(), *target = a.target.as<int32_t>();
  // offsets[e + 1] counts expert e, then is where its rows begin, and, once they are placed, where they end.
  std::fill(offsets, offsets + experts + 1, 0);
  for (int64_t i = 0; i < pairs; i++) offsets[ids[i] + 1]++;
  int32_t begin = 0;
  for (int64_t e = 1; e <= experts; e++) begin += std::exchange(offsets[e], begin);
  for (int64_t i = 0; i < pairs; i++) {
    const int32_t row = offsets[ids[i] + 1]++;
    source[row] = static_cast<int32_t>(i);
    target[i] = row;
  }
  std::fill(target + pairs, target + a.target.numel(), -1);
}

}  // namespace

void route(Machine& m, const RouteArgs& a) {
  const int64_t tokens = a.live ? *a.live.as<int32_t>() : a.x.size(0), chosen = tokens * a.expert_ids.size(1);
  rms_norm(m, {a.x, {}, a.norm, a.eps, a.room, a.h});
  if (tokens > 0) choose(m, a, tokens);
  std::fill(a.expert_ids.as<int32_t>() + chosen, a.expert_ids.as<int32_t>() + a.expert_ids.numel(), -1);
  std::fill(a.weights.as<float>() + chosen, a.weights.as<float>() + a.weights.numel(), 0.0f);
  permute(a, chosen);
}

void unpermute(Machine& m, const UnpermuteArgs& a) {
  const int64_t tokens = a.target.size(0);
  const UnpermuteTask task{a.y.as<float>(), a.target.as<int32_t>(), a.weights.as<float>(), a.target.size(1), a.y.size(1), a.out.as<float>()};
  const int64_t ns = tokens * task.active * task.width / 8, parts = std::min<int64_t>(tokens, m.pool.threads() * 4);
  m.pool.run(parts, ns, [&](int64_t i, int) { m.kernels.unpermute(task, tokens * i / parts, tokens * (i + 1) / parts); });
}

}  // namespace m2::cpu
