// Which kernels the plans choose at MiniMax-M2's sizes, on an H200 and on an A100: kept as plans.txt, so that a change of a plan is seen.
#include "kernels/plans.h"

#include <tuple>

#include "cuda/attention/plan.h"
#include "cuda/gemm/plan.h"

namespace m2::kernels {
namespace {

using namespace m2::cuda;

struct Device {
  const char* name;
  int architecture, multiprocessors;
  size_t shared_per_block;
};
constexpr Device kDevices[] = {{"H200", 90, 132, 227 << 10}, {"A100", 80, 108, 163 << 10}};
constexpr WeightType kBf16{}, kFp8{.format = WeightFormat::kFp8}, kInt4{.format = WeightFormat::kInt4, .group = 128};
constexpr WeightType kFp8Rows{.format = WeightFormat::kFp8, .fp8_rows = true}, kInt4Fp8Rows{.format = WeightFormat::kInt4, .group = 128, .fp8_rows = true};
constexpr int64_t kHidden = 3072, kExperts = 256, kActive = 8, kExpertHidden = 1536;

struct Product {
  const char* name;
  bool grouped, gathers;
  int64_t n, k;
  WeightType type;
};
constexpr Product kProducts[] = {{"qkv, FP8", false, false, 8192, kHidden, kFp8}, {"o, FP8", false, false, kHidden, 6144, kFp8}, {"head, bf16", false, false, 200064, kHidden, kBf16},
                                 {"gate and up, int4", true, true, 2 * kExpertHidden, kHidden, kInt4}, {"down, int4", true, false, kHidden, kExpertHidden, kInt4},
                                 {"gate and up, bf16", true, true, 2 * kExpertHidden, kHidden, kBf16},
                                 {"qkv, FP8, rows too", false, false, 8192, kHidden, kFp8Rows}, {"o, FP8, rows too", false, false, kHidden, 6144, kFp8Rows},
                                 {"gate and up, int4, rows FP8", true, true, 2 * kExpertHidden, kHidden, kInt4Fp8Rows}, {"down, int4, rows FP8", true, false, kHidden, kExpertHidden, kInt4Fp8Rows}};

void print_products(std::ostream& out, const Device& d) {
  for (const Product& p : kProducts) {
    if (p.type.fp8_rows && !is_hopper(d.architecture)) continue;  // as others, behind rounding
    for (int64_t tokens : {1, 4, 16, 64, 512, 4096}) {
      const GemmShape shape{.rows = p.grouped ? tokens * kActive : tokens, .groups = p.grouped ? kExperts : 1, .n = p.n, .k = p.k, .format = facts_of(p.type), .gathers = p.gathers};
      out << d.name << ", " << p.name << ", " << tokens << " tokens: " << plan_gemm(d.architecture, d.multiprocessors, d.shared_per_block, shape) << "\n";
    }
  }
}

void print_attention(std::ostream& out, const Device& d) {
  for (const auto& [name, element_bytes, rounds] : {std::tuple("bf16", 2, false), std::tuple("e4m3", 1, false), std::tuple("e4m3, rounded", 1, true)}) {
    if (rounds && !is_hopper(d.architecture)) continue;  // as others
    for (int64_t queries : {1, 4096}) {
      const AttentionShape shape{.heads = 48, .kv_heads = 8, .dim = 128, .element_bytes = element_bytes, .page_size = 64, .cache_rows = 1 << 28, .max_queries = queries, .max_context = 196608, .rounds = rounds};
      out << d.name << ", attention, " << name << ", up to " << queries << " queries: "
          << plan_attention({d.architecture, d.multiprocessors, d.shared_per_block}, shape) << "\n";
    }
  }
}

}  // namespace

void print_plans(std::ostream& out) {
  for (const Device& device : kDevices) {
    print_products(out, device);
    print_attention(out, device);
  }
}

}  // namespace m2::kernels
