// The words of CUDA C++ that are no C++. There is no __shared__: a shared array belongs to its block, which no C++ variable can say, so kernels use
// M2_SHARED and M2_DYNAMIC_SHARED (shared.h). __noinline__ is left alone, since libstdc++ spells an attribute of GCC with it.
#pragma once

#define __global__ __attribute__((noinline))
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __grid_constant__
#define __align__(n) alignas(n)
