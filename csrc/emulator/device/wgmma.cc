// wgmma: the products of a warpgroup's tile with a tile in shared memory. Each warp has 16 of the 64 rows and runs on its own here; it is complete, and
// shared memory has been read, when the warp has waited for it: whoever relies on the four warps finishing together is not helped.
//
// While a product is in flight its accumulators hold a signalling NaN (any arithmetic changes its bits), and the wait looks whether it still stands there.
//
// Layouts of operands as in the PTX ISA, "Strides" and "Canonical Layouts" of wgmma's matrix descriptor. Bits of a descriptor: start address / 16 in 0..13,
// leading byte offset / 16 in 16..29, stride byte offset / 16 in 32..45, base offset in 49..51, swizzle in 62..63 (1: 128, 2: 64, 3: 32 bytes).
#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <memory>

#include "emulator/device/memory.h"
#include "emulator/device/tensor_map.h"
#include "emulator/device/warp.h"
#include "emulator/instructions.h"
#include "emulator/language/narrow_floats.h"
#include "emulator/sites.h"

namespace m2::emulator {
namespace {

constexpr uint32_t kInFlight = 0x7f857a1eu;
constexpr uint32_t kWholeWarp = 0xffffffffu;
constexpr int kMostColumns = 256, kRows = 16;

struct Accumulator {
  float* registers[32];
  int columns;
  std::vector<float> sums;  // [columns][16]
  int products = 0;         // in flight
};

struct Product {
  Accumulator* accumulator;
  WgmmaForm form;
  bool a_in_registers;
  uint32_t a[32][4];
  uint64_t a_descriptor, b_descriptor;
  bool is_done = false;
};

}  // namespace

struct Wgmmas {
  std::vector<std::unique_ptr<Product>> open;               // not committed
  std::deque<std::vector<std::unique_ptr<Product>>> groups;  // committed, the oldest first
  std::vector<std::unique_ptr<Accumulator>> accumulators;    // in flight
  bool needs_fence = true;
  uint64_t issued = 0;  // a hash of all products, which the four warps of a warpgroup have in common
};

namespace {

Wgmmas& wgmmas_of(Warp& warp) {
  if (!warp.wgmmas) warp.wgmmas = std::make_shared<Wgmmas>();
  return *warp.wgmmas;
}

// Reads 16 bytes at a time of a block's shared memory; most reads are near the last one.
class Operand {
 public:
  explicit Operand(Block& block) : block_(block) {}
  const uint8_t* at(uint32_t offset) {
    if (!piece_ || offset < piece_->offset || offset + 16 > piece_->offset + piece_->bytes) {
      piece_ = nullptr;
      for (const SharedMemory::Piece& piece : block_.shared.pieces()) {
        if (offset >= piece.offset && offset + 16 <= piece.offset + piece.bytes) piece_ = &piece;
      }
      if (!piece_) fail("wgmma: 16 bytes of an operand at shared offset %x lie outside the block's shared memory", offset);
    }
    return piece_->data + (offset - piece_->offset);
  }

 private:
  Block& block_;
  const SharedMemory::Piece* piece_ = nullptr;
};

struct Descriptor {
  uint32_t start, leading, stride, row;  // row: bytes of a row of the swizzle's pattern
  unsigned swizzle;                      // 0 .. 3

  explicit Descriptor(uint64_t bits)
      : start(static_cast<uint32_t>(bits & 0x3fff) << 4),
        leading(static_cast<uint32_t>(bits >> 16 & 0x3fff) << 4),
        stride(static_cast<uint32_t>(bits >> 32 & 0x3fff) << 4),
        swizzle(bits >> 62 ? 4 - static_cast<unsigned>(bits >> 62) : 0) {
    if (bits >> 49 & 7) fail("wgmma: a matrix descriptor with a base offset, which is not modelled");
    row = 16u << swizzle;
  }
};

inline float element(Element type, const uint8_t* bytes, unsigned i) {
  switch (type) {
    case Element::kBf16: return bf16_to_f32(static_cast<uint16_t>(bytes[2 * i] | bytes[2 * i + 1] << 8));
    case Element::kF16: return f16_to_f32(static_cast<uint16_t>(bytes[2 * i] | bytes[2 * i + 1] << 8));
    default: return e4m3_values()[bytes[i]];
  }
}

// put(index along M or N, index along K, value) for rows first .. first + count - 1 of an operand.
template <class Put>
inline __attribute__((always_inline)) void read_operand(Block& block, uint64_t bits, int first, int count, bool mn_major, Element type, Put put) {
  const Descriptor d(bits);
  Operand operand(block);
  const unsigned bytes = type == Element::kE4m3 ? 1 : 2, per_piece = 16 / bytes, depth = 32 / bytes;
  const auto piece = [&](uint32_t address) { return operand.at(swizzled(address, d.swizzle)); };
  if (!mn_major) {
    for (int i = 0; i < count; i++) {
      const uint32_t r = static_cast<uint32_t>(first + i), row = d.start + r / 8 * d.stride;
      for (uint32_t half = 0; half < 2; half++) {
        const uint8_t* p = piece(row + (d.swizzle ? r % 8 * d.row + half * 16 : r % 8 * 16 + half * d.leading));
        for (unsigned e = 0; e < per_piece; e++) put(i, half * per_piece + e, element(type, p, e));
      }
    }
    return;
  }
  const uint32_t span = d.row / 2;  // elements along M or N in a row of the pattern
  for (uint32_t k = 0; k < depth; k++) {
    for (int i = 0; i < count; i += 8) {
      const uint32_t m = static_cast<uint32_t>(first + i);
      const uint8_t* p = piece(d.start + m % span * 2 + (d.swizzle ? m / span * d.leading + k / 8 * d.stride + k % 8 * d.row
                                                                  : m / 8 * d.stride + k / 8 * d.leading + k % 8 * 16));
      for (unsigned e = 0; e < 8; e++) put(i + static_cast<int>(e), k, element(type, p, e));
    }
  }
}

typedef float Floats8 __attribute__((vector_size(32), aligned(32)));

struct Tiles {
  alignas(32) float a[32][kRows];       // [k][row]
  float b[kMostColumns][32];            // [column][k]
};

inline __attribute__((always_inline)) void multiply(const Tiles& t, float* sums, int columns, int depth) {
  for (int n = 0; n < columns; n++) {
    Floats8 low, high;
    std::memcpy(&low, sums + n * kRows, 32);
    std::memcpy(&high, sums + n * kRows + 8, 32);
    for (int k = 0; k < depth; k++) {
      const Floats8* a = reinterpret_cast<const Floats8*>(t.a[k]);
      low += a[0] * t.b[n][k];
      high += a[1] * t.b[n][k];
    }
    std::memcpy(sums + n * kRows, &low, 32);
    std::memcpy(sums + n * kRows + 8, &high, 32);
  }
}

using Multiply = void (*)(const Tiles&, float*, int, int);
Multiply best_multiply() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) {
    return [](const Tiles& t, float* sums, int columns, int depth) __attribute__((target("avx2"))) { multiply(t, sums, columns, depth); };
  }
#endif
  return [](const Tiles& t, float* sums, int columns, int depth) { multiply(t, sums, columns, depth); };
}

void compute(Warp& warp, Product& p) {
  if (p.is_done) return;
  p.is_done = true;
  static const Multiply best = best_multiply();
  static thread_local const auto scratch = std::make_unique<Tiles>();  // on the heap: static thread-local storage is scarce
  Tiles& tiles = *scratch;
  const WgmmaForm& f = p.form;
  const auto put_a = [&tiles](int row, unsigned k, float value) { tiles.a[k][row] = value; };
  if (p.a_in_registers) {
    const unsigned per_register = f.element == Element::kE4m3 ? 4 : 2;
    for (unsigned lane = 0; lane < 32; lane++) {
      for (unsigned r = 0; r < 4; r++) {
        uint8_t bytes[4];
        std::memcpy(bytes, &p.a[lane][r], 4);
        for (unsigned e = 0; e < per_register; e++) {
          put_a(static_cast<int>(lane / 4 + 8 * (r & 1)), per_register * (lane % 4) + e + (r >> 1) * 4 * per_register, element(f.element, bytes, e));
        }
      }
    }
  } else {
    read_operand(*warp.block, p.a_descriptor, kRows * static_cast<int>(warp.index % 4), kRows, f.transpose_a, f.element, put_a);
  }
  read_operand(*warp.block, p.b_descriptor, 0, f.columns, f.transpose_b, f.element, [&tiles](int n, unsigned k, float value) { tiles.b[n][k] = value; });
  float* sums = p.accumulator->sums.data();
  if (!f.accumulate) std::fill_n(sums, f.columns * kRows, 0.0f);
  best(tiles, sums, f.columns, f.element == Element::kE4m3 ? 32 : 16);
}

// f(lane, register, index in sums)
template <class F>
void for_each_sum(int columns, F f) {
  for (int lane = 0; lane < 32; lane++) {
    for (int j = 0; j < columns / 8; j++) {
      for (int r = 0; r < 4; r++) f(lane, 4 * j + r, (8 * j + 2 * (lane % 4) + (r & 1)) * kRows + lane / 4 + 8 * (r >> 1));
    }
  }
}

struct ProductLane {
  float* d;
  const uint32_t* a;
  const WgmmaForm* form;
  uint64_t a_descriptor, b_descriptor;
};

Accumulator& accumulator_of(Warp& warp, Wgmmas& w, int columns, bool a_in_registers) {
  const auto found = std::find_if(w.accumulators.begin(), w.accumulators.end(),
                                  [&](const auto& acc) { return acc->registers[0] == operands<ProductLane>(warp, 0).d; });
  const bool in_flight = found != w.accumulators.end();
  if (w.needs_fence && (!in_flight || a_in_registers)) fail("wgmma: its registers are used without wgmma.fence since the last wait");
  if (in_flight) {
    if ((*found)->columns != columns) fail("wgmma: the accumulator is in flight with another shape");
    return **found;
  }
  Accumulator& acc = *w.accumulators.emplace_back(std::make_unique<Accumulator>());
  acc.columns = columns;
  acc.sums.resize(static_cast<size_t>(columns) * kRows);
  for (unsigned lane = 0; lane < 32; lane++) acc.registers[lane] = operands<ProductLane>(warp, lane).d;
  for_each_sum(columns, [&](int lane, int r, int at) {
    acc.sums[static_cast<size_t>(at)] = acc.registers[lane][r];
    std::memcpy(&acc.registers[lane][r], &kInFlight, 4);
  });
  return acc;
}

void issue(Warp& warp, uint32_t, uint64_t) {
  const ProductLane& first = operands<ProductLane>(warp, 0);
  Wgmmas& w = wgmmas_of(warp);
  auto p = std::make_unique<Product>();
  p->form = *first.form;
  p->a_in_registers = first.a != nullptr;
  p->a_descriptor = first.a_descriptor;
  p->b_descriptor = first.b_descriptor;
  if (first.a) {
    for (unsigned lane = 0; lane < 32; lane++) std::memcpy(p->a[lane], operands<ProductLane>(warp, lane).a, 16);
  }
  p->accumulator = &accumulator_of(warp, w, p->form.columns, p->a_in_registers);
  p->accumulator->products++;
  w.issued = mix(w.issued ^ mix(p->a_descriptor) ^ mix(p->b_descriptor * 3) ^ static_cast<uint64_t>(p->form.columns * 2 + p->form.accumulate));
  Group& g = *warp.block->group;
  if (g.completion() == Completion::kEarly || (g.completion() == Completion::kRandom && g.random.one_in(2))) {
    for (auto& group : w.groups) {
      for (auto& older : group) compute(warp, *older);
    }
    for (auto& older : w.open) compute(warp, *older);
    compute(warp, *p);
  }
  w.open.push_back(std::move(p));
}

// The sums go to the registers when no product of the accumulator is in flight any more.
void retire(Warp& warp, Wgmmas& w, Product& p) {
  compute(warp, p);
  Accumulator& acc = *p.accumulator;
  if (--acc.products) return;
  for_each_sum(acc.columns, [&](int lane, int r, int at) {
    uint32_t bits;
    std::memcpy(&bits, &acc.registers[lane][r], 4);
    if (bits != kInFlight) fail("wgmma: register %d of the accumulator of lane %d was written to while in flight", r, lane);
    acc.registers[lane][r] = acc.sums[static_cast<size_t>(at)];
  });
  std::erase_if(w.accumulators, [&](const auto& other) { return other.get() == &acc; });
}

void check_warpgroup(const char* what) {
  const Warp& warp = *self->warp;
  if (warp.all != kWholeWarp || warp.index / 4 * 4 + 4 > warp.block->warp_count) fail("%s: warp %u is in no whole warpgroup", what, warp.index);
}

}  // namespace

void wgmma(const WgmmaForm& form, float* d, const uint32_t* a, uint64_t a_descriptor, uint64_t b_descriptor) {
  needs_hopper("wgmma.mma_async");
  check_warpgroup("wgmma.mma_async");
  if (form.element == Element::kS8) fail("wgmma of integers is not modelled");
  if (form.element == Element::kE4m3 && (form.transpose_a || form.transpose_b)) fail("wgmma: operands of 8 bits lie along K");
  if (form.columns % 8 || form.columns < 8 || form.columns > kMostColumns) fail("wgmma of %d columns", form.columns);
  ProductLane lane{d, a, &form, a_descriptor, b_descriptor};
  collective(kWholeWarp, "wgmma.mma_async", a_descriptor * 31 + b_descriptor * 7 + static_cast<uint64_t>(form.columns * 2 + form.accumulate), &lane, issue);
}

void wgmma_fence(Site site) {
  needs_hopper("wgmma.fence");
  if (skips("wgmma.fence", site)) return;
  check_warpgroup("wgmma.fence");
  collective(kWholeWarp, "wgmma.fence", 0, nullptr, [](Warp& warp, uint32_t, uint64_t) { wgmmas_of(warp).needs_fence = false; }, site);
}

void wgmma_commit(Site site) {
  needs_hopper("wgmma.commit_group");
  if (skips("wgmma.commit_group", site)) return;
  collective(kWholeWarp, "wgmma.commit_group", 0, nullptr, [](Warp& warp, uint32_t, uint64_t) {
    Wgmmas& w = wgmmas_of(warp);
    w.groups.push_back(std::move(w.open));
    w.open.clear();
  }, site);
}

void wgmma_wait(int groups, Site site) {
  needs_hopper("wgmma.wait_group");
  if (skips("wgmma.wait_group", site)) return;
  collective(kWholeWarp, "wgmma.wait_group", static_cast<uint64_t>(groups), nullptr, [](Warp& warp, uint32_t, uint64_t detail) {
    Wgmmas& w = wgmmas_of(warp);
    w.needs_fence = true;
    while (w.groups.size() > detail) {
      for (auto& p : w.groups.front()) retire(warp, w, *p);
      w.groups.pop_front();
    }
  }, site);
}

void wgmmas_after_end(Warp& warp) {
  if (warp.wgmmas && (!warp.wgmmas->open.empty() || !warp.wgmmas->groups.empty())) fail("a warp ends with wgmma in flight");
  Block& block = *warp.block;
  const unsigned first = warp.index / 4 * 4;
  if (first + 4 > block.warp_count) return;
  for (unsigned i = first; i < first + 4; i++) {
    if (block.warps[i]->ended != block.warps[i]->all) return;
  }
  const auto hash = [&](unsigned i) { return block.warps[i]->wgmmas ? block.warps[i]->wgmmas->issued : 0; };
  for (unsigned i = first + 1; i < first + 4; i++) {
    if (hash(i) != hash(first)) fail("the warps %u and %u of a warpgroup issued different wgmma", first, i);
  }
}

// The pool holds what the launch left over; a warpgroup that wants more waits until others have given theirs back.
void set_registers(int count, bool more, Site site) {
  needs_hopper("setmaxnreg");
  if (count % 8 || count < 24 || count > 256) fail("setmaxnreg: %d registers", count);
  check_warpgroup("setmaxnreg");
  collective(kWholeWarp, "setmaxnreg", static_cast<uint64_t>(count) << 1 | more, nullptr, nullptr, site);
  Block& block = *self->block;
  constexpr int kRegisters = 65536, kMost = 255;
  if (block.registers_of.empty()) {
    const int threads = static_cast<int>(group().launch->kernel->threads()), each = std::min(kMost + 1, kRegisters / threads / 8 * 8);
    block.registers_of.assign(static_cast<size_t>(threads), each);
    block.free_registers = kRegisters - each * threads;
  }
  int& mine = block.registers_of[self->linear];
  if (more != (count > mine) && count != mine) fail("setmaxnreg.%s to %d registers from %d", more ? "inc" : "dec", count, mine);
  while (count - mine > block.free_registers) {
    block.wait_for_registers.push_back(self);
    wait_until_ready("setmaxnreg.inc", static_cast<uint64_t>(count), site);
  }
  block.free_registers -= count - mine;
  mine = count;
  if (more) return;
  for (Thread* t : block.wait_for_registers) make_ready(*t);
  block.wait_for_registers.clear();
}

}  // namespace m2::emulator
