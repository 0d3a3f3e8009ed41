// What becomes of the cotangents of pre-activations: gradients of weights, of inputs, and of the h before.
#pragma once

#include "blocks.h"

namespace LJ_ISA {

// Rows of cotangents, stored by blocks of four vectors of columns, all rows of a block together: in this order a tile
// reads them both as rows and as a panel. Each gate is padded to whole vectors, with zeros.
struct Cotangents {
  int64_t rows, gates, hidden;
  Buffer data = nullptr;

  Cotangents(int64_t rows, int64_t gates, int64_t hidden)
      : rows(rows), gates(gates), hidden(hidden), data(room_for<float>(rows * depth())) {}

  int64_t depth() const { return gates * padded(hidden); }
  int64_t blocks() const { return (depth() + 4 * W - 1) / (4 * W); }
  int vectors(int64_t block) const { return static_cast<int>(std::min<int64_t>(4, depth() / W - 4 * block)); }

  float *at(int64_t block, int64_t row) const { return &data[block * 4 * W * rows + row * vectors(block) * W]; }
  float *at(int64_t row, int64_t gate, int64_t unit) const {
    int64_t column = gate * padded(hidden) + unit;
    return at(column / (4 * W), row) + column % (4 * W);
  }

  // Adds R rows, of the vectors [first, last) alone, times a panel for all vectors to a tile's sums.
  template <int R, int N>
  LJ_INLINE void multiply_into(vec (&sum)[R][4], int64_t row, const float *panel, int64_t first, int64_t last) const {
    for (int64_t v = first, next; v < last; v = next) {
      int64_t block = v / 4, width = vectors(block) * W;
      next = std::min(last, 4 * block + 4);
      for (int64_t i = 0; i < R * 4 * W; i += 16) __builtin_prefetch(at(block + 1, row) + i);
      multiply<R, N>(sum, at(block, row) + v % 4 * W, width, panel + v * W * N * W, (next - v) * W);
    }
  }
};

// Long products go slice by slice of the vectors [first, last): so much of a panel stays in a core's cache from tile to
// tile. Calls f(first, last, whether it is the last slice).
template <class F> LJ_INLINE void each_slice(int64_t first, int64_t last, F &&f) {
  constexpr int64_t SLICE = 1024 / W;
  do {
    int64_t next = std::min(last, first + SLICE);
    f(first, next, next == last);
    first = next;
  } while (first < last);
}

// to[m, n] = the sum over rows k of factors[k][m] * d[k, n], and sums[n] that of d[k, n], chunk of rows after chunk.
struct TurnedProduct {
  const Cotangents &d;
  int64_t first, last; // vectors of its columns
  int64_t factors;
  float *to, *sums; // [factors, gates * hidden], [gates * hidden]; null where not wanted
  Buffer turned;

  TurnedProduct(const Cotangents &d, int64_t first_gate, int64_t last_gate, int64_t factors, float *to, float *sums)
      : d(d), first(first_gate * padded(d.hidden) / W), last(last_gate * padded(d.hidden) / W), factors(factors),
        to(to), sums(sums), turned(room_for<float>(to ? factors * d.rows : 0)) {}

  // Adds the first n rows; one share: a range of the factors, for all columns.
  void add(const float *const *from, int64_t n, bool fresh, Share share) {
    int64_t m0 = share.first(factors), m1 = share.last(factors);
    if (to) turn(from, n, m0, m1);
    for (int64_t block = first / 4; (to || sums) && block * 4 < last; ++block)
      with_vectors(d.vectors(block), [&](auto vectors) {
        constexpr int N = decltype(vectors)::value;
        const float *panel = d.at(block, 0);
        if (sums && share.index == 0) {
          vec sum[1][4] = {};
          for (int64_t k = 0; k < n; ++k)
            for (int v = 0; v < N; ++v) sum[0][v] += load(panel + (k * N + v) * W);
          put<1, N>(sum, sums, block, fresh);
        }
        each_tile(m0, to ? m1 : m0, [&](int64_t m, auto size) {
          constexpr int R = decltype(size)::value;
          vec a[R][4] = {};
          for (int r = 0; r < R; ++r)
            for (int i = 0; i < 4 * W; i += 16)
              __builtin_prefetch(to + (m + r) * d.gates * d.hidden + 4 * W * block + i, 1);
          multiply<R, N, N - 1, R>(a, &turned[m * d.rows], 1, panel, n);
          put<R, N>(a, to + m * d.gates * d.hidden, block, fresh);
        });
      });
  }

  // Copies the factors of n rows so that each tile reads its own in order; of a few rows at a time, whose cache lines
  // serve several tiles.
  void turn(const float *const *from, int64_t n, int64_t m0, int64_t m1) {
    for (int64_t k0 = 0; k0 < n; k0 += 16)
      each_tile(m0, m1, [&](int64_t m, auto size) {
        constexpr int R = decltype(size)::value;
        float *tile = &turned[m * d.rows];
        for (int64_t k = k0; k < std::min(n, k0 + 16); ++k) std::memcpy(tile + k * R, from[k] + m, 4 * R);
      });
  }

  template <int R, int N> LJ_INLINE void put(const vec (&sum)[R][4], float *rows, int64_t block, bool fresh) {
    for (int v = 0; v < N; ++v) {
      if (4 * block + v < first || 4 * block + v >= last) continue;
      int64_t column = (4 * block + v) * W, gate = column / padded(d.hidden), unit = column % padded(d.hidden);
      for (int r = 0; r < R; ++r) {
        float *at = rows + (r * d.gates + gate) * d.hidden + unit;
        store(at, fresh ? sum[r][v] : load(at, d.hidden - unit) + sum[r][v], d.hidden - unit);
      }
    }
  }
};

} // namespace LJ_ISA
