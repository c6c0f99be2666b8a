// Memory for weights, cache and activations.
#pragma once
#include "core/view.h"

namespace m2::cpu {

// Uninitialised, aligned to 64 bytes. Large buffers are asked for in huge pages: weights are read end to end, and small pages would cost a miss of the
// address cache every 4 KiB. Throws OUT_OF_MEMORY with the bytes.
Buffer allocate(size_t bytes);

}  // namespace m2::cpu
