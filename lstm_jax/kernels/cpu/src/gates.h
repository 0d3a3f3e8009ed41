// The squashing functions, in float32. Not-a-number comes out as it went in.
#pragma once

#include "vec.h"

namespace LJ_ISA {

LJ_INLINE vec at_most(vec x, float bound) { return x > bound ? splat(bound) : x; }
LJ_INLINE vec at_least(vec x, float bound) { return x < bound ? splat(bound) : x; }

// 2^(n + f) with n the nearest integer: the polynomial is the minimax one of degree 6 for 2^f on |f| <= 1/2, relative
// error 1.9e-9; with rounding the error stays under 2e-7. Arguments are kept within +-87.
LJ_INLINE vec exp(vec x) {
  x = at_least(at_most(x, 87.0f), -87.0f);
  constexpr float log2e = 1.44269502f, log2e_rest = 1.92596303e-8f, magic = 12582912.0f; // 1.5 * 2^23: rounds to integer
  vec t = x * log2e + magic;
  vec n = t - magic;
  vec f = (x * log2e - n) + x * log2e_rest;
  vec p = splat(1.53458118e-4f);
  p = p * f + 1.33999314e-3f;
  p = p * f + 9.61848896e-3f;
  p = p * f + 5.55032878e-2f;
  p = p * f + 2.40226469e-1f;
  p = p * f + 6.93147206e-1f;
  p = p * f + 1.0f;
  ivec bits = (ivec)t << 23; // the low bits of t are n; those of magic itself leave the word
  return (vec)((ivec)p + bits);
}

LJ_INLINE vec sigmoid(vec x) { return 1.0f / (1.0f + exp(-x)); }

// x P(x^2) / Q(x^2), minimax over |x| <= 9.02 with P and Q of degree 4, relative error 2.2e-8; with rounding under 4e-7.
LJ_INLINE vec tanh(vec x) {
  x = at_least(at_most(x, 9.02f), -9.02f);
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
  return at_least(at_most(x * p / q, 1.0f), -1.0f);
}

} // namespace LJ_ISA
