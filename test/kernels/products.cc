// Products at the edges of their tiles: against the CPU, and each row's bits against those that the kernel of few rows and the kernel of another device's
// matrix units give for it.
#include <numeric>

#include "kernels/cases.h"

#ifdef M2_EMULATED
#include "emulator/settings.h"
#endif

namespace m2::kernels {
namespace {

using Run = std::function<void(const std::function<void()>&)>;

constexpr WeightType kTypes[] = {{}, {.format = WeightFormat::kFp8}, {.format = WeightFormat::kInt4, .group = 64}, {.format = WeightFormat::kInt4, .group = 128},
                                 {.format = WeightFormat::kInt4, .group = 32, .zeros = true}};
constexpr const char* kNames[] = {"bf16", "FP8", "int4 by 64", "int4 by 128", "int4 by 32 with zeros"};
constexpr WeightType kFp8Rows[] = {{.format = WeightFormat::kFp8, .fp8_rows = true},
                                   {.format = WeightFormat::kInt4, .group = 32, .fp8_rows = true},
                                   {.format = WeightFormat::kInt4, .group = 64, .fp8_rows = true},
                                   {.format = WeightFormat::kInt4, .group = 128, .fp8_rows = true},
                                   {.format = WeightFormat::kInt4, .group = 32, .zeros = true, .fp8_rows = true},
                                   {.format = WeightFormat::kInt4, .group = 64, .zeros = true, .fp8_rows = true},
                                   {.format = WeightFormat::kInt4, .group = 128, .zeros = true, .fp8_rows = true}};
constexpr const char* kFp8RowsNames[] = {"FP8, rows FP8", "int4 by 32, rows FP8", "int4 by 64, rows FP8", "int4 by 128, rows FP8", "int4 by 32 with zeros, rows FP8", "int4 by 64 with zeros, rows FP8",
                                         "int4 by 128 with zeros, rows FP8"};

enum class Op { kLinear, kAdded, kGateUp, kGrouped };

struct Problem {
  Op op;
  std::vector<int64_t> groups;  // rows of each; a dense product has one
  int64_t n, k;
  WeightType type;

  int64_t rows() const { return std::accumulate(groups.begin(), groups.end(), int64_t{0}); }
  bool is_grouped() const { return op == Op::kGateUp || op == Op::kGrouped; }
  int64_t width() const { return op == Op::kGateUp ? n / 2 : n; }
};

// The rows `chosen` of the whole problem on a device, [chosen, width].
std::vector<float> product(Arena& a, const Problem& p, const std::vector<int64_t>& chosen, const Run& run) {
  Random r(41);
  const int64_t experts = p.is_grouped() ? static_cast<int64_t>(p.groups.size()) : 1, rows = static_cast<int64_t>(chosen.size()), all = p.rows(), width = p.width();
  const Weight w = a.weight(experts, p.n, p.k, p.op == Op::kGateUp ? WeightLayout::kGateUp : WeightLayout::kRows,
                            r.normals(experts * p.n * p.k, 1 / std::sqrt(static_cast<float>(p.k))), p.type);
  const std::vector<float> x = r.normals(all * p.k), base = r.normals(all * width);
  const auto picked = [&](const std::vector<float>& from, int64_t columns) {
    std::vector<float> values;
    for (int64_t row : chosen) values.insert(values.end(), from.begin() + row * columns, from.begin() + (row + 1) * columns);
    return values;
  };
  std::vector<int32_t> offsets{0};
  int64_t end = 0;
  for (int64_t count : p.groups) {
    end += count;
    offsets.push_back(static_cast<int32_t>(std::lower_bound(chosen.begin(), chosen.end(), end) - chosen.begin()));
  }
  switch (p.op) {
    case Op::kGateUp: {  // every row a token of its own, in the order of tokens backwards
      std::vector<float> tokens;
      std::vector<int32_t> source;
      for (int64_t i = 0; i < rows; i++) {
        const int64_t row = chosen[rows - 1 - i];
        tokens.insert(tokens.end(), x.begin() + row * p.k, x.begin() + (row + 1) * p.k);
        source.push_back(static_cast<int32_t>(rows - 1 - i));
      }
      const View out = a.out(DType::kBf16, {rows, width});
      const GroupedGateUpArgs args{a.halves(tokens, {rows, p.k}), a.ints(source), a.ints(offsets), &w, out};
      run([&] { a.ops.grouped_gate_up(args); });
      return a.read(out);
    }
    case Op::kGrouped: {
      const View out = a.act_out({rows, width});
      const GroupedLinearArgs args{a.halves(picked(x, p.k), {rows, p.k}), a.ints(offsets), &w, out};
      run([&] { a.ops.grouped_linear(args); });
      return a.read(out);
    }
    default: {
      const bool adds = p.op == Op::kAdded;
      const View out = adds ? a.floats(picked(base, width), {rows, width}) : a.out(DType::kF32, {rows, width});
      const LinearArgs args{a.act(picked(x, p.k), {rows, p.k}), &w, out, adds};
      run([&] { a.ops.linear(args); });
      return a.read(out);
    }
  }
}

// Up to 8 rows of the problem: the ends of its groups.
std::vector<int64_t> few_rows(const Problem& p) {
  std::vector<int64_t> rows;
  int64_t first = 0;
  for (int64_t count : p.groups) {
    if (count > 0 && rows.size() < 7) rows.push_back(first);
    if (count > 1 && rows.size() < 8) rows.push_back(first + count - 1);
    first += count;
  }
  return rows;
}

// With the matrix units of sm_80, where the emulator can present them.
template <class Use>
void as_older_device([[maybe_unused]] Arena& a, [[maybe_unused]] const Use& use) {
#ifdef M2_EMULATED
  int& architecture = emulator::settings().architecture;
  const int own = architecture;
  architecture = 80;
  {
    const std::unique_ptr<Backend> older = make_backend(a.ops.device(), 1);
    Arena arena(*older);
    use(arena);
  }
  architecture = own;
#endif
}

Case products(const Problem& p, const std::string& type) {
  std::string name;
  for (int64_t count : p.groups) name += (name.empty() ? "" : ", ") + std::to_string(count);
  constexpr const char* kOps[] = {"linear", "linear, added", "grouped_gate_up", "grouped_linear"};
  return {"products", std::string(kOps[static_cast<int>(p.op)]) + " of " + name + " rows, " + std::to_string(p.k) + " to " + std::to_string(p.n) + ", " + type, 0, [=](Arena& a, const Run& run) {
            std::vector<int64_t> all(p.rows());
            std::iota(all.begin(), all.end(), 0);
            const Run plain = [](const std::function<void()>& op) { op(); };
            const std::vector<float> whole = product(a, p, all, run);
            const std::vector<int64_t> few = few_rows(p);
            std::vector<float> again;
            for (int64_t row : few) again.insert(again.end(), whole.begin() + row * p.width(), whole.begin() + (row + 1) * p.width());
            bool is_same = again == product(a, p, few, plain);
            if (!p.type.fp8_rows) as_older_device(a, [&](Arena& older) { is_same = is_same && whole == product(older, p, all, plain); });
            return Result{whole, {is_same ? 1.f : 0.f}};
          }};
}

}  // namespace

std::vector<Case> product_cases() {
  std::vector<Case> cases;
  for (size_t i = 0; i < std::size(kTypes); i++) {
    const WeightType& type = kTypes[i];
    const auto add = [&](Op op, std::vector<int64_t> groups, int64_t n, int64_t k) { cases.push_back(products({op, std::move(groups), n, k, type}, kNames[i])); };
    add(Op::kLinear, {17}, 130, 32);
    add(Op::kAdded, {129}, 264, 96);
    add(Op::kLinear, {33}, 40, 3104);
    add(Op::kGateUp, {0, 1, 17, 0, 127, 30}, 320, 96);
    add(Op::kGateUp, {16, 128, 0, 2}, 64, 1568);
    add(Op::kGrouped, {65, 0, 1, 129, 15, 0}, 264, 160);
    add(Op::kGrouped, {40, 7}, 48, 1536);
  }
  for (size_t i = 0; i < std::size(kFp8Rows); i++) {
    const WeightType& type = kFp8Rows[i];
    const auto add = [&](Op op, std::vector<int64_t> groups, int64_t n, int64_t k) { cases.push_back(products({op, std::move(groups), n, k, type}, kFp8RowsNames[i])); };
    add(Op::kGrouped, {16, 0, 3, 9}, 72, 1664);
    add(Op::kLinear, {33}, 40, 3200);
    add(Op::kGateUp, {0, 1, 17, 0, 127, 30}, 320, 256);
    if (type.format == WeightFormat::kInt4 && (type.group < 128 || type.zeros)) continue;  // what differs is behind them
    add(Op::kLinear, {13}, 72, 3200);
    add(Op::kLinear, {17}, 130, 128);
    add(Op::kAdded, {97}, 264, 256);
    add(Op::kGateUp, {16, 128, 0, 2}, 64, 1664);
    add(Op::kGrouped, {65, 0, 1, 129, 15, 0}, 264, 384);
    add(Op::kGrouped, {40, 7}, 48, 1536);
  }
  return cases;
}

}  // namespace m2::kernels
