// What both passes are made of: their memory, how units are cut into blocks, and how a crew shares the work.
#pragma once

#include <algorithm>

#include "cells.h"
#include "memory.h"

namespace LJ_ISA {

static int64_t padded(int64_t n) { return (n + W - 1) / W * W; }

// State rows stand one vector further apart than they need, so that powers of two do not share their cache sets.
static int64_t apart(int64_t n) { return padded(n) + W; }

typedef Array<float> Buffer;

// Not std::vector: a function of the library that one instruction set instantiates could serve another.
template <class T> static Array<T> room_for(int64_t n) {
  return Array<T>(static_cast<T *>(take_memory(sizeof(T) * (n + W))));
}

static Buffer zeros(int64_t n) {
  Buffer buffer = room_for<float>(n);
  std::memset(buffer.get(), 0, 4 * n);
  return buffer;
}

static void copy_row(float *to, const float *from, int64_t n) { std::memcpy(to, from, 4 * n); }

// How columns are cut: into blocks of UNITS, each with a panel of N vectors for each factor of its rows.
template <bool WIDE, int GATES> struct Blocks {
  static constexpr int N = WIDE ? 4 : GATES;
  static constexpr int UNITS = WIDE ? 4 * W : W;
  static int64_t count(int64_t units) { return (units + UNITS - 1) / UNITS; }
  static int64_t size(int64_t depth) { return (depth * N + 4) * W; }
  // Vectors of units in a block: fewer in the last one.
  static int vectors(int64_t block, int64_t units) {
    int64_t left = (units - block * UNITS + W - 1) / W;
    return WIDE && left < 4 ? static_cast<int>(left) : 4;
  }
};

template <class F> LJ_INLINE void with_vectors(int n, F &&f) {
  switch (n) {
  case 1: return f(Rows<1>{});
  case 2: return f(Rows<2>{});
  case 3: return f(Rows<3>{});
  default: return f(Rows<4>{});
  }
}

// One share of many equal ones: its part of n things.
struct Share {
  int64_t index, of;
  int64_t first(int64_t n) const { return n * index / of; }
  int64_t last(int64_t n) const { return n * (index + 1) / of; }
};

template <class Loop> static void march(const Crew &crew, int64_t steps, Loop &loop) {
  struct Whole {
    Loop &loop;
    int64_t shares;
  } whole{loop, crew.shares};
  crew.march(
      crew, steps, &whole, [](void *w, int64_t s) { static_cast<Whole *>(w)->loop.begin(s); },
      [](void *w, int64_t s, int64_t share) {
        auto &[loop, shares] = *static_cast<Whole *>(w);
        loop.work(s, Share{share, shares});
      });
}

} // namespace LJ_ISA
