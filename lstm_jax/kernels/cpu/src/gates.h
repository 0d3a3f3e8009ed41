// The squashing functions, in float32. Not-a-number comes out as it went in.
#pragma once

#include "vec.h"

namespace LJ_ISA {

// Of two numbers that do not compare, x86's minimum and maximum return the second.
LJ_INLINE vec clamp(vec x, float low, float high) {
#if defined(__AVX512F__)
  x = (vec)_mm512_maskz_min_ps(0xffff, (__m512)splat(high), (__m512)x);
  return (vec)_mm512_maskz_max_ps(0xffff, (__m512)splat(low), (__m512)x);
#elif defined(__AVX2__)
  return (vec)_mm256_max_ps((__m256)splat(low), _mm256_min_ps((__m256)splat(high), (__m256)x));
#else
  x = x > high ? splat(high) : x;
  return x < low ? splat(low) : x;
#endif
}

// e^x = 2^n e^r with n the integer nearest to x / ln 2; the polynomial is the minimax one of degree 6 on |r| <= ln 2 / 2,
// relative error 1.9e-9; with rounding the error stays under 2e-7. ln 2 is taken off in two parts, the first so short
// that n times it is exact, with or without fused products. Arguments are kept within +-87.
LJ_INLINE vec exp(vec x) {
  x = clamp(x, -87.0f, 87.0f);
  constexpr float log2e = 1.44269502f, magic = 12582912.0f; // 1.5 * 2^23: rounds to integer
  constexpr float ln2 = 0.693359375f, ln2_rest = -2.12194440e-4f;
  vec t = x * log2e + magic;
  vec n = t - magic;
  vec r = (x - n * ln2) - n * ln2_rest;
  vec p = splat(0.00138368458f);
  p = p * r + 0.00837481593f;
  p = p * r + 0.0416682256f;
  p = p * r + 0.166664202f;
  p = p * r + 0.499999921f;
  p = p * r + 1.00000004f;
  p = p * r + 1.0f;
  ivec bits = (ivec)t << 23; // the low bits of t are n; those of magic itself leave the word
  return (vec)((ivec)p + bits);
}

LJ_INLINE vec sigmoid(vec x) { return 1.0f / (1.0f + exp(-x)); }

// x P(x^2) / Q(x^2), minimax over |x| <= 9.02 with P and Q of degree 4, relative error 2.2e-8; with rounding under 4e-7.
LJ_INLINE vec tanh(vec x) {
  x = clamp(x, -9.02f, 9.02f);
  vec u = x * x;
  vec p = splat(1.33217253e-8f);
  p = p * u + 2.05854058e-5f;
  p = p * u + 3.49415185e-3f;
  p = p * u + 1.33798168e-1f;
  p = p * u + 9.99999979e-1f;
  vec q = splat(7.76310839e-7f);
  q = q * u + 3.28328442e-4f;
  q = q * u + 2.58715197e-2f;
  q = q * u + 4.67131321e-1f;
  q = q * u + 1.0f;
  return clamp(x * p / q, -1.0f, 1.0f);
}

} // namespace LJ_ISA
