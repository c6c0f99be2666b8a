// cuTensorMapEncodeTiled, with the rules of its documentation. What the model does not have (interleaved layouts, element strides, boxes narrower than
// the swizzle) is refused.
#include <cuda.h>

#include <cstring>
#include <string>

#include "emulator/device/tensor_map.h"
#include "emulator/host/api.h"
#include "emulator/host/device.h"

namespace m2::emulator {
namespace {

CUresult refuse(const std::string& why) {
  Device& d = device();
  const std::lock_guard lock(d.mutex);
  d.refuse(cudaErrorInvalidValue, "cuTensorMapEncodeTiled: " + why);
  return CUDA_ERROR_INVALID_VALUE;
}

std::string at(const char* what, unsigned i, uint64_t value) { return std::string(what) + "[" + std::to_string(i) + "] is " + std::to_string(value); }

}  // namespace
}  // namespace m2::emulator

using namespace m2::emulator;

CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* address, const cuuint64_t* sizes,
                                const cuuint64_t* strides, const cuuint32_t* box, const cuuint32_t* element_strides, CUtensorMapInterleave interleave,
                                CUtensorMapSwizzle swizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill fill) {
  constexpr uint64_t kMostSize = uint64_t{1} << 32, kMostStride = uint64_t{1} << 40;
  if (!map || reinterpret_cast<uintptr_t>(map) % 64) return refuse("the map is not aligned to 64 bytes");
  if (rank < 1 || rank > 5) return refuse("a rank of " + std::to_string(rank));
  if (type < CU_TENSOR_MAP_DATA_TYPE_UINT8 || type > CU_TENSOR_MAP_DATA_TYPE_BFLOAT16) return refuse("the type of its elements");
  if (interleave != CU_TENSOR_MAP_INTERLEAVE_NONE || fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) return refuse("interleave and NaN fill are not modelled");
  if (reinterpret_cast<uintptr_t>(address) % 16) return refuse("the address is not aligned to 16 bytes");
  TensorMap m{};
  m.magic = TensorMap::kMagic;
  m.base = static_cast<uint8_t*>(address);
  m.rank = static_cast<uint8_t>(rank);
  m.swizzle = static_cast<uint8_t>(swizzle);
  m.element = static_cast<TensorElement>(type);
  for (unsigned i = 0; i < rank; i++) {
    if (sizes[i] < 1 || sizes[i] > kMostSize) return refuse(at("size", i, sizes[i]));
    if (box[i] < 1 || box[i] > 256) return refuse(at("box", i, box[i]));
    if (element_strides[i] != 1) return refuse(at("element stride", i, element_strides[i]) + ", which is not modelled");
    m.last[i] = static_cast<uint32_t>(sizes[i] - 1);
    m.box[i] = static_cast<uint16_t>(box[i]);
    if (i == 0) continue;
    const uint64_t stride = strides[i - 1], below = i == 1 ? sizes[0] * m.bytes_per_element() : 1;
    if (stride % 16 || stride >= kMostStride || stride < below) return refuse(at("stride", i - 1, stride));
    m.stride[i - 1] = stride;
  }
  const unsigned width = swizzle == CU_TENSOR_MAP_SWIZZLE_NONE ? m.row_bytes() : 16u << swizzle;
  if (m.row_bytes() % 16) return refuse("a box's row of " + std::to_string(m.row_bytes()) + " bytes is no multiple of 16");
  if (m.row_bytes() > width) return refuse("a box's row of " + std::to_string(m.row_bytes()) + " bytes is longer than the swizzle's " + std::to_string(width));
  if (m.row_bytes() < width) return refuse("a box's row shorter than the swizzle's is not modelled");
  std::memset(map, 0, sizeof *map);
  std::memcpy(map, &m, sizeof m);
  return CUDA_SUCCESS;
}

cudaError_t cudaGetDriverEntryPoint(const char* name, void** function, unsigned long long, cudaDriverEntryPointQueryResult* result) {
  return call([&](Device&) {
    const bool is_known = std::strcmp(name, "cuTensorMapEncodeTiled") == 0;
    *function = is_known ? reinterpret_cast<void*>(&cuTensorMapEncodeTiled) : nullptr;
    if (result) *result = is_known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned, unsigned long long flags, cudaDriverEntryPointQueryResult* result) {
  return cudaGetDriverEntryPoint(name, function, flags, result);
}
