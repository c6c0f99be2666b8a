// Writes one file of a quantised checkpoint: a header that TypeScript made (lib/quantize), and each tensor from a checkpoint that is read along, as it is,
// as bf16, or as codes of 4 bits.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "model/quantize.h"
#include "model/weight_plan.h"
#include "model/weights.h"

namespace m2 {

// The order is lib/native.ts's SHARD_ACTIONS.
enum class ShardAction { kCopy, kBf16, kInt4 };

struct ShardTensor {
  int64_t source;                   // which tensor of the plan
  ShardAction action;
  uint64_t values, scales, shape;   // bytes from the start of the file; the last two of kInt4: scales [n, groups] bf16, and n and k as two i64
};

struct Shard {
  std::string path;
  std::vector<uint8_t> header;
  std::vector<ShardTensor> tensors;
};

// The losses of its int4 tensors, in their order. When it returns the bytes have reached the disk. Throws BAD_CHECKPOINT for what cannot be read or
// quantised, BAD_INPUT for what cannot be written, CLOSED when `cancelled` says so.
std::vector<Int4Error> write_shard(const WeightPlan& source, const Shard&, const std::function<bool()>& cancelled, const Progress&);

}  // namespace m2
