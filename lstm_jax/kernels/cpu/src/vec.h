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

// The first n floats alone, 0 <= n: the last vector of an array whose length is no multiple of W. Nothing beyond them is
// touched; a loaded vector is zero there.
#if defined(__AVX512F__)
LJ_INLINE __mmask16 first(int64_t n) { return static_cast<__mmask16>((1u << n) - 1); }
LJ_INLINE vec load_few(const float *p, int64_t n) { return (vec)_mm512_maskz_loadu_ps(first(n), p); }
LJ_INLINE void store_few(float *p, vec v, int64_t n) { _mm512_mask_storeu_ps(p, first(n), (__m512)v); }
#elif defined(__AVX2__)
LJ_INLINE __m256i first(int64_t n) { return (__m256i)(ivec{0, 1, 2, 3, 4, 5, 6, 7} < static_cast<int32_t>(n)); }
LJ_INLINE vec load_few(const float *p, int64_t n) { return (vec)_mm256_maskload_ps(p, first(n)); }
LJ_INLINE void store_few(float *p, vec v, int64_t n) { _mm256_maskstore_ps(p, first(n), (__m256)v); }
#else
LJ_INLINE vec load_few(const float *p, int64_t n) {
  vec v{};
  for (int64_t i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
LJ_INLINE void store_few(float *p, vec v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i] = v[i];
}
#endif
LJ_INLINE vec load(const float *p, int64_t n) { return n >= W ? load(p) : load_few(p, n); }
LJ_INLINE void store(float *p, vec v, int64_t n) { n >= W ? store(p, v) : store_few(p, v, n); }

LJ_INLINE vec splat(float x) { return x - vec{}; }

} // namespace LJ_ISA
