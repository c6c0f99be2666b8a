// ldmatrix, stmatrix and mma.sync. Fragments as in the PTX ISA, "Matrix Fragments for mma.m16n8k16" and its neighbours: with g = lane / 4, t = lane % 4,
// register r of A holds row g + 8 (r & 1), and of B column g; elements of a register are neighbours along k, from P t on (P per register), and the
// second half of k is 4 P further. C and D: row g + 8 (r >> 1), column 2 t + (r & 1).
//
// Sums run over k in order, in float32. Products of 16- and 8-bit floats are exact in float32, so nothing hangs on whether a machine fuses them.
#include <cmath>
#include <cstring>

#include "emulator/device/memory.h"
#include "emulator/device/warp.h"
#include "emulator/instructions.h"
#include "emulator/language/narrow_floats.h"

namespace m2::emulator {
namespace {

constexpr uint32_t kWholeWarp = 0xffffffffu;

void needs_whole_warp(const char* what) {
  if (self->warp->all != kWholeWarp) fail("%s in a warp of fewer than 32 threads", what);
}

struct Rows {
  uint8_t row[16];
  uint8_t* place;
  uint32_t* registers;
};

// Element (i, j) of a matrix is in lane 4 i + j / 2, half j % 2; transposed, i and j change places.
void compute_ldmatrix(Warp& warp, uint32_t, uint64_t detail) {
  const unsigned matrices = static_cast<unsigned>(detail >> 1);
  for (unsigned m = 0; m < matrices; m++) {
    uint16_t element[8][8];
    for (unsigned i = 0; i < 8; i++) std::memcpy(element[i], operands<Rows>(warp, 8 * m + i).row, 16);
    for (unsigned lane = 0; lane < 32; lane++) {
      const unsigned i = lane / 4, j = 2 * (lane % 4);
      const uint32_t low = detail & 1 ? element[j][i] : element[i][j], high = detail & 1 ? element[j + 1][i] : element[i][j + 1];
      operands<Rows>(warp, lane).registers[m] = low | high << 16;
    }
  }
  M2_TRACE(trace::warp_has_read(warp))
}

void compute_stmatrix(Warp& warp, uint32_t, uint64_t detail) {
  const unsigned matrices = static_cast<unsigned>(detail >> 1);
  for (unsigned m = 0; m < matrices; m++) {
    uint16_t element[8][8];
    for (unsigned lane = 0; lane < 32; lane++) {
      const unsigned i = lane / 4, j = 2 * (lane % 4);
      const uint32_t value = operands<Rows>(warp, lane).registers[m];
      (detail & 1 ? element[j][i] : element[i][j]) = static_cast<uint16_t>(value);
      (detail & 1 ? element[j + 1][i] : element[i][j + 1]) = static_cast<uint16_t>(value >> 16);
    }
    for (unsigned i = 0; i < 8; i++) std::memcpy(operands<Rows>(warp, 8 * m + i).place, element[i], 16);
  }
}

}  // namespace

void ldmatrix(uint32_t* registers, int matrices, bool transpose, uint32_t address) {
  M2_ENTER
  needs_whole_warp("ldmatrix");
  Rows lane;
  lane.registers = registers;
  if (self->lane < 8u * static_cast<unsigned>(matrices)) {
    const uint8_t* row = shared_bytes(address, 16, 16, "ldmatrix");
    M2_TRACE(trace::read_for_warp(row, 16))
    std::memcpy(lane.row, row, 16);
  }
  collective(kWholeWarp, "ldmatrix", static_cast<uint64_t>(matrices) << 1 | transpose, &lane, compute_ldmatrix);
}

void stmatrix(uint32_t address, int matrices, bool transpose, const uint32_t* registers) {
  M2_ENTER
  needs_hopper("stmatrix");
  needs_whole_warp("stmatrix");
  Rows lane;
  lane.registers = const_cast<uint32_t*>(registers);
  if (self->lane < 8u * static_cast<unsigned>(matrices)) {
    lane.place = shared_bytes(address, 16, 16, "stmatrix");
    M2_TRACE(trace::write(lane.place, 16))
  }
  collective(kWholeWarp, "stmatrix", static_cast<uint64_t>(matrices) << 1 | transpose, &lane, compute_stmatrix);
}

namespace {

struct MmaLane {
  void* d;
  const uint32_t *a, *b;
};

typedef float Floats8 __attribute__((vector_size(32)));
typedef uint32_t Ints8 __attribute__((vector_size(32)));  // sums that are too large wrap

template <class V, class T, int K>
struct Tile {
  T a[16][K];
  V b[K], d[16];
};

template <int K, class V, class T, class Convert>
inline __attribute__((always_inline)) void multiply(Warp& warp, Convert convert) {
  constexpr int kPerRegister = K / 8;
  Tile<V, T, K> tile;
  for (unsigned lane = 0; lane < 32; lane++) {
    const MmaLane& in = operands<MmaLane>(warp, lane);
    const unsigned g = lane / 4, t = lane % 4;
    for (unsigned e = 0; e < kPerRegister; e++) {
      const unsigned k = kPerRegister * t + e;
      for (unsigned r = 0; r < 4; r++) tile.a[g + 8 * (r & 1)][k + (r >> 1) * 4 * kPerRegister] = convert(in.a[r], e);
      for (unsigned r = 0; r < 2; r++) tile.b[k + r * 4 * kPerRegister][g] = convert(in.b[r], e);
    }
    const T* d = static_cast<const T*>(in.d);
    for (unsigned r = 0; r < 4; r++) tile.d[g + 8 * (r >> 1)][2 * t + (r & 1)] = d[r];
  }
  for (int i = 0; i < 16; i++) {
    V sum = tile.d[i];
    for (int k = 0; k < K; k++) sum += tile.a[i][k] * tile.b[k];
    tile.d[i] = sum;
  }
  for (unsigned lane = 0; lane < 32; lane++) {
    T* d = static_cast<T*>(operands<MmaLane>(warp, lane).d);
    const unsigned g = lane / 4, t = lane % 4;
    for (unsigned r = 0; r < 4; r++) d[r] = tile.d[g + 8 * (r >> 1)][2 * t + (r & 1)];
  }
}

inline __attribute__((always_inline)) void compute_element(Warp& warp, uint64_t detail) {
  switch (static_cast<Element>(detail)) {
    case Element::kBf16: return multiply<16, Floats8, float>(warp, [](uint32_t v, unsigned e) { return bf16_to_f32(static_cast<uint16_t>(v >> 16 * e)); });
    case Element::kF16: return multiply<16, Floats8, float>(warp, [](uint32_t v, unsigned e) { return f16_to_f32(static_cast<uint16_t>(v >> 16 * e)); });
    case Element::kE4m3: {
      const float* table = e4m3_values();
      return multiply<32, Floats8, float>(warp, [table](uint32_t v, unsigned e) { return table[v >> 8 * e & 255]; });
    }
    case Element::kS8: return multiply<32, Ints8, uint32_t>(warp, [](uint32_t v, unsigned e) { return static_cast<uint32_t>(static_cast<int8_t>(v >> 8 * e)); });
  }
}

void compute_plain(Warp& warp, uint32_t, uint64_t detail) { compute_element(warp, detail); }

Compute best_compute() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) {
    return [](Warp& warp, uint32_t, uint64_t detail) __attribute__((target("avx2"))) { compute_element(warp, detail); };
  }
#endif
  return compute_plain;
}

}  // namespace

const float* e4m3_values() {
  struct Table {
    float value[256];
    Table() {
      for (unsigned i = 0; i < 256; i++) value[i] = e4m3_to_f32(static_cast<uint8_t>(i));
    }
  };
  static const Table table;
  return table.value;
}

void mma_16x8(Element element, void* d, const uint32_t* a, const uint32_t* b) {
  M2_ENTER
  static const Compute compute = best_compute();
  needs_whole_warp("mma.sync");
  if (element == Element::kE4m3) needs_hopper("mma.sync of e4m3");
  MmaLane lane{d, a, b};
  collective(kWholeWarp, "mma.sync", static_cast<uint64_t>(element), &lane, compute);
}

float exp2_flushed(float x) {
  M2_ENTER
  const float y = std::exp2(x);
  return std::fabs(y) < 0x1p-126f ? 0.0f : y;
}

}  // namespace m2::emulator
