// Attention: how it is cut into tasks. A task is up to 48 (query, head) rows of one sequence and KV head with their whole context, or, where that
// would leave threads idle (decoding a few long sequences), one chunk of it; then the chunks' states are merged afterwards. Both do the same sums.
#include "cpu/fp8_rows.h"
#include "cpu/launchers.h"

namespace m2::cpu {
namespace {

constexpr int64_t kMostStates = int64_t{1} << 26;  // floats of states kept for a merge: 256 MiB

struct Piece {
  AttentionTask task;
  int64_t chunks;
  int64_t first_state = 0;  // of chunks x rows states, when the chunks are tasks of their own
};

std::vector<Piece> pieces_of(const AttentionArgs& a) {
  const int32_t *cu = a.cu_seqlens_q.as<int32_t>(), *lens = a.context_lens.as<int32_t>(), *rows = a.rows.as<int32_t>();
  const int64_t heads = a.q.size(1), dim = a.q.size(2), group = heads / a.kv.heads;
  std::vector<Piece> pieces;
  for (int64_t b = 0; b < a.rows.size(0); b++) {
    const int64_t queries = cu[b + 1] - cu[b], first_position = lens[b] - queries;
    const int32_t* pages = a.page_tables.as<int32_t>() + rows[b] * a.page_tables.size(1);
    for (int64_t first = 0; first < queries * group; first += kAttentionRows) {
      const int64_t last = std::min(first + kAttentionRows, queries * group);
      const int64_t seen = first_position + (last - 1) / group + 1;  // by the last row
      for (int64_t h = 0; h < a.kv.heads; h++) {
        pieces.push_back({{a.q.as<float>() + cu[b] * heads * dim, a.out.as<float>() + cu[b] * heads * dim, heads, group, h, a.kv, a.layer, pages,
                           first_position, a.scale * a.kv.scale(a.layer, 0, h), a.kv.scale(a.layer, 1, h), first, last, a.rounds},
                          (seen + kContextChunk - 1) / kContextChunk});
      }
    }
  }
  return pieces;
}

int64_t rows_of(const Piece& piece) { return piece.task.last_row - piece.task.first_row; }

// A piece's whole context, chunk after chunk.
void attend_whole(const Kernels& kernels, const Piece& piece, float* scratch) {
  const int64_t dim = piece.task.kv.head_dim, floats = kAttentionRows * state_floats(dim);
  float *next = scratch + kAttentionScratch - floats, *states = next - floats;
  kernels.attend(piece.task, 0, states, scratch);
  for (int64_t chunk = 1; chunk < piece.chunks; chunk++) {
    kernels.attend(piece.task, chunk, next, scratch);
    kernels.merge_states(states, next, rows_of(piece), dim);
  }
  kernels.write_attention(piece.task, states);
}

void attend_split(Machine& m, std::vector<Piece>& pieces, float* memory, int64_t states, int64_t work_ns) {
  const int64_t dim = pieces.front().task.kv.head_dim, stride = state_floats(dim);
  std::vector<std::pair<const Piece*, int64_t>> parts;
  for (const Piece& piece : pieces) {
    for (int64_t chunk = 0; chunk < piece.chunks; chunk++) parts.emplace_back(&piece, chunk);
  }
  const auto states_of = [&](const Piece& piece, int64_t chunk) { return memory + (piece.first_state + chunk * rows_of(piece)) * stride; };
  m.pool.run(static_cast<int64_t>(parts.size()), work_ns, [&](int64_t i, int worker) {
    const auto [piece, chunk] = parts[i];
    m.kernels.attend(piece->task, chunk, states_of(*piece, chunk), m.scratch(worker));
  });
  m.pool.run(static_cast<int64_t>(pieces.size()), states * dim / 16, [&](int64_t i, int) {
    const Piece& piece = pieces[i];
    float* first = states_of(piece, 0);
    for (int64_t chunk = 1; chunk < piece.chunks; chunk++) m.kernels.merge_states(first, states_of(piece, chunk), rows_of(piece), dim);
    m.kernels.write_attention(piece.task, first);
  });
}

void round_heads(Machine& m, const View& q, float* to) {
  const int64_t tokens = q.size(0), heads = q.size(1), dim = q.size(2), parts = std::min<int64_t>(tokens, m.pool.threads() * 4);
  m.pool.run(parts, tokens * heads * dim, [&](int64_t i, int) {
    for (int64_t head = tokens * i / parts * heads; head < tokens * (i + 1) / parts * heads; head++) round_row(q.as<float>() + head * dim, dim, to + head * dim);
  });
}

}  // namespace

void attention(Machine& m, const AttentionArgs& a) {
  std::vector<Piece> pieces = pieces_of(a);
  // A piece costs its reading of K and V and its rows' arithmetic.
  int64_t states = 0, work_ns = 0, longest = 0;
  for (Piece& piece : pieces) {
    piece.first_state = states;
    states += piece.chunks * rows_of(piece);
    work_ns += piece.chunks * kContextChunk * a.kv.head_dim * (6 + rows_of(piece)) / 16;
    longest = std::max(longest, piece.chunks);
  }
  const bool few = static_cast<int>(pieces.size()) < 4 * m.pool.threads(), splits = m.pool.useful_threads(work_ns) > 1 && longest > 1 && few && states * state_floats(a.kv.head_dim) <= kMostStates;
  const int64_t floats = splits ? states * state_floats(a.kv.head_dim) : 0;
  float* const memory = m.shared(floats + (a.rounds ? a.q.numel() : 0));
  if (a.rounds) {
    round_heads(m, a.q, memory + floats);
    for (Piece& piece : pieces) piece.task.q = memory + floats + (piece.task.q - a.q.as<float>());
  }
  if (splits) return attend_split(m, pieces, memory, states, work_ns);
  m.pool.run(static_cast<int64_t>(pieces.size()), work_ns, [&](int64_t i, int worker) { attend_whole(m.kernels, pieces[i], m.scratch(worker)); });
}

}  // namespace m2::cpu
