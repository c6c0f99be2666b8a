// Tensor maps for ptx/tensor.h, encoded on the host. The driver's function is asked for by name, so nothing is linked against the driver.
#pragma once
#include <cuda.h>

#include <array>
#include <cstddef>

#include "core/error.h"
#include "cuda/check.h"

namespace m2::cuda {

// A tensor in global memory and the box of it that one load brings, innermost dimension first. Strides are bytes from one row, matrix, .. to the next.
template <size_t kDimensions>
struct TensorBox {
  CUtensorMapDataType type;
  std::array<cuuint64_t, kDimensions> sizes;
  std::array<cuuint64_t, kDimensions - 1> strides;
  std::array<cuuint32_t, kDimensions> box;
  CUtensorMapSwizzle swizzle;
};

template <size_t kDimensions>
CUtensorMap tensor_map(const void* data, const TensorBox<kDimensions>& t) {
  static const auto encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found;
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found), "looking for cuTensorMapEncodeTiled");
    if (found != cudaDriverEntryPointSuccess) fail("DEVICE_ERROR", "the driver has no cuTensorMapEncodeTiled");
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
  }();
  CUtensorMap map;
  std::array<cuuint32_t, kDimensions> ones;
  ones.fill(1);
  const CUresult result = encode(&map, t.type, static_cast<cuuint32_t>(kDimensions), const_cast<void*>(data), t.sizes.data(), t.strides.data(), t.box.data(), ones.data(),
                                 CU_TENSOR_MAP_INTERLEAVE_NONE, t.swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) fail("DEVICE_ERROR", "cuTensorMapEncodeTiled: status " + std::to_string(static_cast<int>(result)));
  return map;
}

}  // namespace m2::cuda
