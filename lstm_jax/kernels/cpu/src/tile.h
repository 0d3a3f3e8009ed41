// The register tile: R rows times one panel of packed weights, summed into R * 4 vectors.
#pragma once

#include "vec.h"

namespace LJ_ISA {

// Weights are packed so that a tile reads them in order: for each factor k of a row, the N vectors of its panel.
// Vector v is summed into place v, the last one into place LAST (a GRU's candidate keeps its two products apart).
// Rows are `stride` apart, the factors of one row NEXT.
template <int R, int N, int LAST = N - 1, int NEXT = 1>
LJ_INLINE void multiply(vec (&sum)[R][4], const float *rows, int64_t stride, const float *panel, int64_t depth) {
  int64_t k = 0;
  if constexpr (R == 1) { // one row alone waits for its own sums: two of each hide the latency
    vec even[1][4] = {}, odd[1][4] = {};
    for (; k + 2 <= depth; k += 2) {
#pragma GCC unroll 4
      for (int v = 0; v < N; ++v) {
        even[0][v] += rows[k * NEXT] * load(panel + (k * N + v) * W);
        odd[0][v] += rows[(k + 1) * NEXT] * load(panel + ((k + 1) * N + v) * W);
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) sum[0][v == N - 1 ? LAST : v] += even[0][v] + odd[0][v];
  }
  for (; k < depth; ++k) {
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) {
      vec w = load(panel + (k * N + v) * W);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) sum[r][v == N - 1 ? LAST : v] += rows[r * stride + k * NEXT] * w;
    }
  }
}

// Calls f(row, std::integral_constant) for tiles that share `rows` out evenly: 16 rows by 3 are 3, 3, 3, 3, 2, 2.
template <int R> struct Rows { static constexpr int value = R; };

template <class F> LJ_INLINE void each_tile(int64_t row0, int64_t row1, F &&f) {
  int64_t tiles = (row1 - row0 + ROWS - 1) / ROWS;
  for (int64_t row = row0; row < row1; --tiles) {
    int64_t size = (row1 - row + tiles - 1) / tiles;
    switch (size) {
    case 1: f(row, Rows<1>{}); break;
    case 2: f(row, Rows<2>{}); break;
    case 3: f(row, Rows<3>{}); break;
#if LJ_ROWS > 3
    case 4: f(row, Rows<4>{}); break;
    case 5: f(row, Rows<5>{}); break;
    case 6: f(row, Rows<6>{}); break;
#endif
    }
    row += size;
  }
}

// Copies columns [column, column + n) of `depth` rows, `stride` apart, to vector v of a panel of N; what lies beyond
// the n-th column is zero.
inline void pack(float *panel, int N, int v, const float *from, int64_t stride, int64_t depth, int64_t n) {
  for (int64_t k = 0; k < depth; ++k) store(panel + (k * N + v) * W, load(from + k * stride, n));
}

} // namespace LJ_ISA
