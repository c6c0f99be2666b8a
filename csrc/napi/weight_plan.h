// A checkpoint's table of tensors as it comes through the doors (lib/native.ts's TensorTable and WeightPlan), and how far work on it is.
#pragma once
#include <memory>

#include "model/weight_plan.h"
#include "model/weights.h"
#include "napi/worker.h"

namespace m2::napi {

// A table with `held` or without, or random weights.
WeightPlan plan_of(const Napi::Value&);

// Calls `report` with bytes done and in all: at most once per 50 ms, and the last time.
Progress throttled(Worker&, std::shared_ptr<Napi::FunctionReference> report);

}  // namespace m2::napi
