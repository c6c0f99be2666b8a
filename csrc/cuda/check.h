// Every call of the CUDA runtime goes through here: what fails is DEVICE_ERROR with what was being done and CUDA's own words.
#pragma once
#include "core/error.h"
#include "cuda/device.h"

namespace m2::cuda {

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // an error that does not stick is not left behind for the next call
  fail("DEVICE_ERROR", "CUDA: ", what, ": ", cudaGetErrorString(status));
}

}  // namespace m2::cuda
