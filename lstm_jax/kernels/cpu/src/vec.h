// Vectors of floats as wide as the instruction set that this file is compiled for.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LJ_ISA avx512
#define LJ_WIDTH 16
#define LJ_ROWS 6
#elif defined(__AVX2__)
#define LJ_ISA avx2
#define LJ_WIDTH 8
#define LJ_ROWS 3
#elif defined(__aarch64__)
#define LJ_ISA neon
#define LJ_WIDTH 4
#define LJ_ROWS 6
#else
#define LJ_ISA baseline
#define LJ_WIDTH 4
#define LJ_ROWS 3
#endif

// Everything below stands in a namespace of its instruction set and is inlined: no symbol of one build may serve another.
#ifndef LJ_INLINE
#define LJ_INLINE inline __attribute__((always_inline))
#endif

namespace LJ_ISA {

constexpr int W = LJ_WIDTH;   // floats in a vector
constexpr int ROWS = LJ_ROWS; // rows of a register tile: ROWS * 4 sums, a vector of weights and ROWS factors fit

typedef float vec __attribute__((vector_size(4 * LJ_WIDTH)));
typedef int32_t ivec __attribute__((vector_size(4 * LJ_WIDTH)));
typedef float loose __attribute__((vector_size(4 * LJ_WIDTH), aligned(4), may_alias)); // anywhere in memory

LJ_INLINE vec load(const float *p) { return *reinterpret_cast<const loose *>(p); }
LJ_INLINE void store(float *p, vec v) { *reinterpret_cast<loose *>(p) = v; }

// The first n floats alone, n at most W: the last vector of an array whose length is no multiple of W.
LJ_INLINE vec load(const float *p, int64_t n) {
  if (n >= W) return load(p);
  vec v{};
  for (int64_t i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
LJ_INLINE void store(float *p, vec v, int64_t n) {
  if (n >= W) return store(p, v);
  for (int64_t i = 0; i < n; ++i) p[i] = v[i];
}

LJ_INLINE vec splat(float x) { return x - vec{}; }

} // namespace LJ_ISA
