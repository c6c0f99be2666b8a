// CUDA's vector types (sizes and alignments are part of the language: a float4 is loaded in one piece), dim3 and their make_ functions.
#pragma once

#define M2_VECTOR_TYPES(T, name)                                              \
  struct name##1 { T x; };                                                    \
  struct alignas(2 * sizeof(T)) name##2 { T x, y; };                          \
  struct name##3 { T x, y, z; };                                              \
  struct alignas(sizeof(T) < 8 ? 4 * sizeof(T) : 16) name##4 { T x, y, z, w; }; \
  constexpr name##1 make_##name##1(T x) { return {x}; }                       \
  constexpr name##2 make_##name##2(T x, T y) { return {x, y}; }               \
  constexpr name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }       \
  constexpr name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

M2_VECTOR_TYPES(signed char, char)
M2_VECTOR_TYPES(unsigned char, uchar)
M2_VECTOR_TYPES(short, short)
M2_VECTOR_TYPES(unsigned short, ushort)
M2_VECTOR_TYPES(int, int)
M2_VECTOR_TYPES(unsigned, uint)
M2_VECTOR_TYPES(long long, longlong)
M2_VECTOR_TYPES(unsigned long long, ulonglong)
M2_VECTOR_TYPES(float, float)
M2_VECTOR_TYPES(double, double)
#undef M2_VECTOR_TYPES

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};
