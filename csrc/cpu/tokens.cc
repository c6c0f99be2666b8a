// What is done to each token alone: embedding, norms, rotation and the way into the cache.
#include "cpu/launchers.h"

namespace m2::cpu {
namespace {

// body(first, last) over parts of 0..rows-1; ns: estimated time of one row
template <class Body>
void in_parts(Machine& m, int64_t rows, int64_t ns, const Body& body) {
  const int64_t parts = std::min<int64_t>(rows, m.pool.useful_threads(rows * ns) == 1 ? 1 : m.pool.threads() * 4);
  m.pool.run(parts, rows * ns, [&](int64_t part, int) { body(rows * part / parts, rows * (part + 1) / parts); });
}

}  // namespace

void embed(Machine& m, const EmbedArgs& a) {
  const int32_t *ids = a.token_ids.as<int32_t>(), *last_ids = a.last_ids.rank ? a.last_ids.as<int32_t>() : nullptr;
  const bf16* table = a.table.as<bf16>();
  float* out = a.out.as<float>();
  const int64_t width = a.table.size(1);
  in_parts(m, a.token_ids.size(0), width / 8, [&](int64_t first, int64_t last) {
    for (int64_t t = first; t < last; t++) {
      const int64_t id = ids[t] < 0 ? last_ids[-1 - ids[t]] : ids[t];
      m.kernels.embed_row(table + id * width, width, out + t * width);
    }
  });
}

void rms_norm(Machine& m, const RmsNormArgs& a) {
  NormTask task{a.x.as<float>(), a.rows ? a.rows.as<int32_t>() : nullptr, a.weight.as<float>(), a.x.size(1), a.eps, nullptr, nullptr};
  if (a.out.dtype == DType::kF32) task.out = a.out.as<float>();
  else task.out_bf16 = a.out.as<bf16>();
  if (a.out_bf16) task.out_bf16 = a.out_bf16.as<bf16>();
  in_parts(m, a.out.size(0), task.width / 6, [&](int64_t first, int64_t last) { m.kernels.rms_norm(task, first, last); });
}

void qk_norm_rope_store(Machine& m, const QkNormRopeStoreArgs& a) {
  const QkTask task{a.qkv.as<float>(), a.q_weight.as<float>(), a.k_weight.as<float>(), a.rope.as<float>(), a.positions.as<int32_t>(),
                    a.slot_mapping.as<int32_t>(), a.q.size(1), a.rope.size(1), a.layer, a.eps, a.kv, a.q.as<float>()};
  in_parts(m, a.q.size(0), a.qkv.size(1) / 5, [&](int64_t first, int64_t last) { m.kernels.qk_norm_rope_store(task, first, last); });
}

}  // namespace m2::cpu
