// Which kernels a call of attention takes, on what grids: from sizes that the host knows, and nothing else. All choices give the same bits.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <ostream>

#include "cuda/attention/order.h"

namespace m2::cuda {

// Rows of a row tile. Sequences of at most kDecodeRows rows are the decode kernel's.
constexpr int kDecodeRows = 16, kPrefillRows = 128;

// work.h: a part of the work that is no longer than so many tokens is cut at chunks, and a border between parts has room for so many.
constexpr int chunk_part(int rows) { return rows == kDecodeRows ? 14336 : 512; }
constexpr int chunk_room(int rows) { return rows == kDecodeRows ? 64 : 16; }

constexpr int slot_bytes(int dim, int element_bytes) { return kTileTokens * dim * element_bytes; }  // the keys, or the values, of a tile

// teams.cu: teams of warps, which share the 16 rows of a row tile (decoding) or have 16 each.
struct TeamShape {
  static constexpr int kDecodeWarps = 4, kMostDecodeTeams = 3, kPrefillWarps = kPrefillRows / 16, kMostWarps = kDecodeWarps * kMostDecodeTeams;
  static constexpr int slots(int element_bytes, bool is_decode) { return !is_decode ? 3 : element_bytes == 1 ? 6 : 4; }
  static constexpr int shared_bytes(int dim, int element_bytes, bool is_decode) {
    const int wide = element_bytes == 1 ? slot_bytes(dim, 2) : 0, q = (is_decode ? kDecodeRows : kPrefillRows) * dim * 2, scores = is_decode ? kDecodeRows * kTileTokens * 4 : 0;
    return slots(element_bytes, is_decode) * slot_bytes(dim, element_bytes) + wide + q + scores;
  }
  static constexpr int code_bytes(int dim) { return (slots(1, true) + 1) * slot_bytes(dim, 1); }  // of e4m3 that is multiplied as it is
};

// warpgroups.cu: wgmma on two warpgroups with 64 rows each, and a third that brings keys and values.
struct WarpgroupShape {
  static constexpr int kConsumers = 2, kThreads = (kConsumers + 1) * 128;
  int slots, slot_element_bytes, landings;  // landings: of e4m3 that is to be widened, or turned

  constexpr int landings_bytes(int dim) const { return landings * slot_bytes(dim, 1); }
  static constexpr int span_bytes(int dim) { return kConsumers * 128 * (dim / 8 + 1) * 16; }
  constexpr int shared_bytes(int dim) const { return slots * slot_bytes(dim, slot_element_bytes) + landings_bytes(dim) + span_bytes(dim); }
};
constexpr WarpgroupShape kWideSlots{8, 2, 0}, kWidenedSlots{6, 2, 4}, kCodeSlots{12, 1, 4};

struct AttentionDevice {
  int architecture, multiprocessors;
  size_t shared_per_block;
};

struct AttentionShape {
  int64_t heads, kv_heads, dim, element_bytes, page_size, cache_rows, max_queries, max_context;
  bool rounds = false;

  int64_t group() const { return heads / kv_heads; }
};

enum class AttentionKernel { kNone, kGeneral, kTeams, kWarpgroups, kTeamCodes, kWarpgroupCodes };

struct RowsPlan {
  AttentionKernel kernel = AttentionKernel::kNone;
  unsigned blocks = 0, threads = 0;
  size_t shared = 0;           // bytes of a block
  int workers = 0, warps = 0;  // that share the work; with rows, in each
  int room = 0, rows = 0;      // of AttentionScratch

  size_t waiting_bytes(int64_t dim) const { return static_cast<size_t>(workers) * warps * 2 * (dim / 8 + 1) * 32 * 16; }
  int64_t states() const { return static_cast<int64_t>(std::max(workers - 1, 0)) * room * rows; }
  size_t scratch_bytes(int64_t dim) const { return waiting_bytes(dim) + states() * (dim + 2) * 4; }
};

struct AttentionPlan {
  RowsPlan decode, prefill;
};

inline std::ostream& operator<<(std::ostream& out, const RowsPlan& p) {
  constexpr const char* kNames[] = {"none", "general", "mma", "wgmma", "wgmma on e4m3", "wgmma on e4m3"};
  out << kNames[static_cast<int>(p.kernel)];
  if (p.blocks > 0) out << ", " << p.blocks << " blocks of " << p.threads << " threads, " << p.shared << " bytes, " << p.workers << " workers";
  return out;
}
inline std::ostream& operator<<(std::ostream& out, const AttentionPlan& p) { return out << "decode: " << p.decode << "; prefill: " << p.prefill; }

// Whether TMA brings whole tiles: boxes of a page's rows, or of 64 rows of a page. Rows are counted in 31 bits.
inline bool has_boxes(const AttentionShape& s) {
  return (s.page_size % kTileTokens == 0 || (s.page_size % 8 == 0 && kTileTokens % s.page_size == 0)) && s.cache_rows <= std::numeric_limits<int32_t>::max();
}

// Whether products are in e4m3. Both kernels have the same bits, so it is both or none.
inline bool multiplies_codes(const AttentionDevice& d, const AttentionShape& s) { return s.rounds && d.architecture == 90 && has_boxes(s); }

inline RowsPlan plan_decode(const AttentionDevice& d, const AttentionShape& s) {
  if (s.group() > kDecodeRows) return {};
  constexpr size_t kStatic = 4096;
  const int dim = static_cast<int>(s.dim);
  const bool codes = multiplies_codes(d, s);
  const size_t team = codes ? TeamShape::code_bytes(dim) : TeamShape::shared_bytes(dim, static_cast<int>(s.element_bytes), true);
  const int teams = std::min(TeamShape::kMostDecodeTeams, static_cast<int>((d.shared_per_block - kStatic) / team));
  return {.kernel = codes ? AttentionKernel::kTeamCodes : AttentionKernel::kTeams, .blocks = static_cast<unsigned>(d.multiprocessors),
          .threads = static_cast<unsigned>(teams * TeamShape::kDecodeWarps * 32), .shared = teams * team,
          .workers = d.multiprocessors * teams, .warps = TeamShape::kDecodeWarps, .room = std::max(chunk_room(kDecodeRows), spans(static_cast<int>(s.max_context))),
          .rows = static_cast<int>(std::min(kDecodeRows / s.group(), s.max_queries) * s.group())};
}

inline RowsPlan plan_prefill(const AttentionDevice& d, const AttentionShape& s) {
  if (s.max_queries * s.group() <= kDecodeRows) return {};
  const int dim = static_cast<int>(s.dim), element_bytes = static_cast<int>(s.element_bytes);
  RowsPlan plan{.kernel = AttentionKernel::kTeams, .blocks = static_cast<unsigned>(d.multiprocessors), .threads = TeamShape::kPrefillWarps * 32,
                .shared = static_cast<size_t>(TeamShape::shared_bytes(dim, element_bytes, false)), .workers = d.multiprocessors, .warps = kPrefillRows / 16,
                .room = std::max(chunk_room(kPrefillRows), spans(static_cast<int>(s.max_context))), .rows = kPrefillRows};
  if (d.architecture != 90 || !has_boxes(s)) return plan;
  const bool codes = multiplies_codes(d, s);
  plan.kernel = codes ? AttentionKernel::kWarpgroupCodes : AttentionKernel::kWarpgroups;
  plan.threads = WarpgroupShape::kThreads;
  plan.shared = static_cast<size_t>((codes ? kCodeSlots : element_bytes == 1 ? kWidenedSlots : kWideSlots).shared_bytes(dim));
  return plan;
}

// A cache in float32, other head dims and more rows than 32 bits count go to the general kernel, row for row.
inline AttentionPlan plan_attention(const AttentionDevice& d, const AttentionShape& s) {
  const bool has_kernels = s.element_bytes <= 2 && (s.dim == 64 || s.dim == 128) && s.cache_rows <= std::numeric_limits<uint32_t>::max();
  if (!has_kernels) return {{.kernel = AttentionKernel::kGeneral}, {.kernel = AttentionKernel::kGeneral}};
  return {plan_decode(d, s), plan_prefill(d, s)};
}

}  // namespace m2::cuda
