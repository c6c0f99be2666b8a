// What rows of the persistent batch keep between steps.
#include "cpu/launchers.h"

namespace m2::cpu {

void set_pages(const SetPagesArgs& a) {
  const int32_t* updates = a.updates.as<int32_t>();
  for (int64_t u = 0; u < a.updates.size(0); u++, updates += 3) a.page_tables.as<int32_t>()[updates[0] * a.page_tables.size(1) + updates[1]] = updates[2];
}

void start_histories(Machine& m, const StartHistoriesArgs& a) {
  const int64_t vocab = a.history.size(1);
  const int32_t *rows = a.rows.as<int32_t>(), *offsets = a.offsets.as<int32_t>(), *ids = a.ids.as<int32_t>();
  m.pool.run(a.rows.size(0), a.rows.size(0) * vocab, [&](int64_t h, int) {
    int32_t* history = a.history.as<int32_t>() + rows[h] * vocab;
    std::fill(history, history + vocab, 0);
    const int32_t first_generated = offsets[h + 1] - a.generated.as<int32_t>()[h];
    for (int32_t i = offsets[h]; i < offsets[h + 1]; i++) {
      if (i < first_generated) history[ids[i]] |= 1;
      else history[ids[i]] += 2;
    }
  });
}

}  // namespace m2::cpu
