// What to load: the tensors of a checkpoint, and as what the weights that they become are held. TypeScript makes it (names bound, shapes checked:
// lib/model/weights.ts, lib/model/held-weights.ts).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/weight.h"

namespace m2 {

// The order is lib/native.ts's TENSOR_KINDS.
enum class TensorKind {
  kEmbed,
  kFinalNorm,
  kLmHead,
  kInputNorm,
  kQProj,
  kKProj,
  kVProj,
  kOProj,
  kQNorm,
  kKNorm,
  kPostNorm,
  kGate,
  kRouterBias,
  kW1,
  kW3,
  kW2,
};
constexpr int kTensorKinds = 16;

// How the bytes of a tensor are its numbers; the order is lib/native.ts's FORMS. From kAwq on: codes of 4 bits, as int4_tensors.h describes them.
enum class Form { kF32, kBf16, kF16, kF8E4m3, kAwq, kGptq, kGptqV2, kPacked };
constexpr int kForms = 8;
constexpr bool is_codes(Form form) { return form >= Form::kAwq; }
constexpr DType dtype_of(Form form) { return is_codes(form) ? DType::kU8 : static_cast<DType>(form); }

// Where a tensor begins.
struct Place {
  int64_t file = -1;    // -1: there is none
  uint64_t offset = 0;  // bytes from the start of the file

  explicit operator bool() const { return file >= 0; }
};

struct TensorEntry {
  std::string name;
  TensorKind kind;
  int64_t layer, expert;  // -1 where there is none
  Form form;
  int64_t rows, cols;  // a vector is one row
  Place values;
  Place scales;  // of f8: [ceil(rows / 128), ceil(cols / 128)] f32; of codes as int4_tensors.h has them
  // Of codes:
  Place zeros;
  Place group_index;                  // [cols] i32: must say what is so without it
  int64_t group = 0;                  // columns that share a scale and a zero
  bool symmetric = false;             // all zeros are the middle code, also where they are stored
  DType scale_dtype = DType::kBf16;

  uint64_t row_bytes() const { return is_codes(form) ? static_cast<uint64_t>(cols) / 2 : static_cast<uint64_t>(cols) * dtype_bytes(dtype_of(form)); }
  uint64_t bytes() const { return static_cast<uint64_t>(rows) * row_bytes(); }
};

struct WeightPlan {
  std::vector<std::string> files;
  std::vector<TensorEntry> tensors;
  std::vector<WeightType> held;  // of lm_head, then of each layer's q-k-v, o, w1-w3 and w2; empty: all bf16
  bool random = false;           // neither files nor tensors: the device makes the weights as `held` says, for benches
};

}  // namespace m2
