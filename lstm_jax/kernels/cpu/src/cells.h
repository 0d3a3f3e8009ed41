// The cells: what a tile's sums become, forward, and what a cotangent of h becomes, backward.
#pragma once

#include "gates.h"
#include "problem.h"
#include "tile.h"

namespace LJ_ISA {

// Where one row's part of a block lies; `n` of its units exist.
struct Site {
  int64_t n;      // units from here to the end of the row
  int64_t hidden; // distance between gates
  float *c;       // state, or what the first part leaves to the second; padded to whole vectors
  vec h_before;
  float *kept;    // for the backward pass, null in inference
};

struct Slope {
  int64_t n, hidden;
  const float *kept, *h_before; // kept: h itself for a cell that keeps nothing
  float *c;                     // cotangent of c
  float *direct;                // what reaches the step before without passing the recurrent weights
  float *d[4], *d_r[4];         // one vector for each gate
};

LJ_INLINE void put(float *p, int64_t gate, vec v, int64_t n, int64_t hidden) { store(p + gate * hidden, v, n); }
LJ_INLINE vec get(const float *p, int64_t gate, int64_t n, int64_t hidden) { return load(p + gate * hidden, n); }

// GATES: columns of w_x and w_h a unit. KEPT: floats a unit kept for the backward pass beside h. MEMORY: whether the
// carry has a part beside h. APART: whether W_x x and W_h h have cotangents of their own. A step has PARTS, one after
// the other for all units, First and Second. Of a part: FROM, its first gate; LAST, where its last recurrent sum goes;
// WIDE, whether a tile's vectors are units side by side, up to four, instead of the gates of W units.
struct Lstm {
  typedef Lstm First;
  static constexpr int PARTS = 1, FROM = 0, GATES = 4, KEPT = 5, LAST = 3;
  static constexpr bool WIDE = false, MEMORY = true, APART = false;

  LJ_INLINE static vec step(const vec *a, const Site &s) {
    vec i = sigmoid(a[0]), f = sigmoid(a[1]), g = tanh(a[2]), o = sigmoid(a[3]);
    vec before = load(s.c), c = f * before + i * g;
    store(s.c, c);
    if (s.kept) {
      put(s.kept, 0, i, s.n, s.hidden);
      put(s.kept, 1, f, s.n, s.hidden);
      put(s.kept, 2, g, s.n, s.hidden);
      put(s.kept, 3, o, s.n, s.hidden);
      put(s.kept, 4, before, s.n, s.hidden);
    }
    return o * tanh(c);
  }

  LJ_INLINE static void pull(vec dh, const Slope &s) {
    vec i = get(s.kept, 0, s.n, s.hidden), f = get(s.kept, 1, s.n, s.hidden);
    vec g = get(s.kept, 2, s.n, s.hidden), o = get(s.kept, 3, s.n, s.hidden);
    vec before = get(s.kept, 4, s.n, s.hidden);
    vec t = tanh(f * before + i * g);
    vec dc = load(s.c) + dh * o * (1.0f - t * t);
    store(s.d[0], dc * g * i * (1.0f - i));
    store(s.d[1], dc * before * f * (1.0f - f));
    store(s.d[2], dc * i * (1.0f - g * g));
    store(s.d[3], dh * t * o * (1.0f - o));
    store(s.c, dc * f);
    store(s.direct, vec{});
  }
};

struct Gru {
  typedef Gru First;
  static constexpr int PARTS = 1, FROM = 0, GATES = 3, KEPT = 4, LAST = 3;
  static constexpr bool WIDE = false, MEMORY = false, APART = true;

  LJ_INLINE static vec step(const vec *a, const Site &s) {
    vec r = sigmoid(a[0]), z = sigmoid(a[1]), n = tanh(a[2] + r * a[3]);
    if (s.kept) {
      put(s.kept, 0, r, s.n, s.hidden);
      put(s.kept, 1, z, s.n, s.hidden);
      put(s.kept, 2, n, s.n, s.hidden);
      put(s.kept, 3, a[3], s.n, s.hidden);
    }
    return n + z * (s.h_before - n);
  }

  LJ_INLINE static void pull(vec dh, const Slope &s) {
    vec r = get(s.kept, 0, s.n, s.hidden), z = get(s.kept, 1, s.n, s.hidden);
    vec n = get(s.kept, 2, s.n, s.hidden), q = get(s.kept, 3, s.n, s.hidden);
    vec dn = dh * (1.0f - z) * (1.0f - n * n);
    vec dr = dn * q * r * (1.0f - r);
    vec dz = dh * (load(s.h_before, s.n) - n) * z * (1.0f - z);
    store(s.d[0], dr);
    store(s.d[1], dz);
    store(s.d[2], dn);
    store(s.d_r[0], dr);
    store(s.d_r[1], dz);
    store(s.d_r[2], dn * r);
    store(s.direct, dh * z);
  }
};

// With the reset before the product: the candidate waits for all of r h.
struct GruBefore {
  static constexpr int PARTS = 2, GATES = 3, KEPT = 4;
  static constexpr bool MEMORY = false, APART = false;

  struct First {
    static constexpr int FROM = 0, GATES = 2, LAST = 1;
    static constexpr bool WIDE = false;

    LJ_INLINE static vec step(const vec *a, const Site &s) {
      vec r = sigmoid(a[0]), z = sigmoid(a[1]), scaled = r * s.h_before;
      store(s.c, z);
      if (s.kept) {
        put(s.kept, 0, r, s.n, s.hidden);
        put(s.kept, 1, z, s.n, s.hidden);
        put(s.kept, 3, scaled, s.n, s.hidden);
      }
      return scaled;
    }
  };

  struct Second {
    static constexpr int FROM = 2, GATES = 1, LAST = 3;
    static constexpr bool WIDE = true;

    LJ_INLINE static vec step(const vec *a, const Site &s) {
      vec n = tanh(*a);
      if (s.kept) put(s.kept, 2, n, s.n, s.hidden);
      return n + load(s.c) * (s.h_before - n);
    }
  };

  LJ_INLINE static void pull(vec dh, const Slope &s) {
    vec z = get(s.kept, 1, s.n, s.hidden), n = get(s.kept, 2, s.n, s.hidden);
    store(s.d[1], dh * (load(s.h_before, s.n) - n) * z * (1.0f - z));
    store(s.d[2], dh * (1.0f - z) * (1.0f - n * n));
    store(s.direct, dh * z);
  }

  // The cotangent of r h.
  LJ_INLINE static void pull_second(vec d, const Slope &s) {
    vec r = get(s.kept, 0, s.n, s.hidden);
    store(s.d[0], d * load(s.h_before, s.n) * r * (1.0f - r));
    store(s.direct, load(s.direct) + d * r);
  }
};

template <Cell ACTIVATION> struct Elman {
  typedef Elman First;
  static constexpr int PARTS = 1, FROM = 0, GATES = 1, KEPT = 0, LAST = 3;
  static constexpr bool WIDE = true, MEMORY = false, APART = false;

  LJ_INLINE static vec step(const vec *a, const Site &) {
    return ACTIVATION == ELMAN_TANH ? tanh(*a) : ACTIVATION == ELMAN_SIGMOID ? sigmoid(*a) : (*a < 0.0f ? vec{} : *a);
  }

  LJ_INLINE static void pull(vec dh, const Slope &s) {
    vec h = get(s.kept, 0, s.n, s.hidden);
    vec slope = ACTIVATION == ELMAN_TANH      ? 1.0f - h * h
                : ACTIVATION == ELMAN_SIGMOID ? h * (1.0f - h)
                                              : (h > 0.0f ? splat(1.0f) : vec{});
    store(s.d[0], dh * slope);
    store(s.direct, vec{});
  }
};

} // namespace LJ_ISA
