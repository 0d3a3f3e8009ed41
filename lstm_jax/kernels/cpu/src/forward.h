// The loop over time, forward.
#pragma once

#include "blocks.h"

namespace LJ_ISA {

// So few rows read every weight from afar for little work: the products of their inputs are made for many steps at once.
constexpr int64_t FEW = 2;

template <class C> struct ForwardPass {
  typedef Blocks<C::WIDE, C::GATES> B;
  const Forward &p;
  const float *packed;
  const bool of_units;
  int64_t T, rows, D, H, stride, depth, ahead;
  Buffer state[2], c, inputs; // state: h before and after a step, in turn

  ForwardPass(const Forward &p, const float *packed, const Crew &crew)
      : p(p), packed(packed), of_units(crew.of_units), T(p.shape.time), rows(p.shape.batch), D(p.shape.inputs),
        H(p.shape.hidden), stride(apart(H)), depth(D + H), ahead(rows <= FEW ? 4 * ROWS : 0),
        state{zeros(rows * stride), zeros(rows * stride)}, c(zeros(C::MEMORY ? rows * stride : 0)),
        inputs(room_for<float>(ahead * rows * B::count(H) * 4 * W)) {}

  static int64_t blocks(const Forward &p) { return B::count(p.shape.hidden); }
  static int64_t panels(const Forward &p) { return blocks(p); }
  static int64_t packed_size(const Forward &p) { return blocks(p) * B::size(p.shape.inputs + p.shape.hidden); }

  // Panels of one block: inputs, state, then four vectors of biases.
  static void pack_panels(const Forward &p, float *packed, int64_t block0, int64_t block1) {
    int64_t D = p.shape.inputs, H = p.shape.hidden, columns = C::GATES * H;
    for (int64_t block = block0; block < block1; ++block) {
      float *x = packed + block * B::size(D + H), *h = x + D * B::N * W, *bias = h + H * B::N * W;
      std::memset(bias, 0, 16 * W);
      int n = C::WIDE ? B::vectors(block, H) : C::GATES;
      for (int v = 0; v < n; ++v) {
        int64_t unit = block * B::UNITS + (C::WIDE ? v * W : 0), column = (C::WIDE ? 0 : v * H) + unit;
        pack(x, n, v, p.w_x + column, columns, D, H - unit);
        pack(h, n, v, p.w_h + column, columns, H, H - unit);
        if (p.b) store(bias + v * W, load(p.b + column, H - unit));
        if (C::APART && v == 2 && p.b_hn) store(bias + 3 * W, load(p.b_hn + unit, H - unit));
      }
    }
  }

  int64_t time(int64_t s) const { return p.shape.reverse ? T - 1 - s : s; }

  // Rows that are reset at step s start from the other carry.
  void reset(int64_t s, int64_t row0, int64_t row1) {
    const uint8_t *resets = p.resets ? p.resets + time(s) * rows : nullptr;
    float *h = state[s & 1].get();
    for (int64_t r = row0; resets && r < row1; ++r)
      if (resets[r]) {
        copy_row(&h[r * stride], p.h1 + r * H, H);
        if (C::MEMORY) copy_row(&c[r * stride], p.c1 + r * H, H);
      }
  }

  float *ahead_of(int64_t s, int64_t row, int64_t block) {
    return &inputs[((s % ahead * rows + row) * B::count(H) + block) * 4 * W];
  }

  // The inputs' products of step s and those after it, with the biases.
  void look_ahead(int64_t s, int64_t block0, int64_t block1) {
    int64_t steps = std::min(ahead, T - s), apart = rows * D;
    for (int64_t block = block0; block < block1; ++block)
      with_vectors(C::WIDE ? B::vectors(block, H) : 4, [&](auto vectors) {
        constexpr int V = C::WIDE ? decltype(vectors)::value : C::GATES;
        const float *x = packed + block * B::size(depth), *bias = x + depth * B::N * W;
        for (int64_t row = 0; row < rows; ++row)
          each_tile(s, s + steps, [&](int64_t first, auto size) {
            constexpr int R = decltype(size)::value;
            vec a[R][4];
            for (int r = 0; r < R; ++r)
              for (int v = 0; v < 4; ++v) a[r][v] = load(bias + v * W);
            multiply<R, V>(a, p.x + time(first) * apart + row * D, p.shape.reverse ? -apart : apart, x, D);
            for (int r = 0; r < R; ++r)
              for (int v = 0; v < 4; ++v) store(ahead_of(first + r, row, block) + v * W, a[r][v]);
          });
      });
  }

  // A block for a tile of R rows; N vectors of units where the block is wide.
  template <int R, int N> LJ_INLINE void tile(int64_t s, int64_t block, int64_t row) {
    constexpr int LAST = C::WIDE ? N - 1 : C::LAST;
    constexpr int V = C::WIDE ? N : C::GATES;
    const float *x = packed + block * B::size(depth), *u = x + D * B::N * W, *bias = u + H * B::N * W;
    int64_t t = time(s);
    const float *h = state[s & 1].get();
    float *next = state[(s + 1) & 1].get();
    vec a[R][4];
    for (int r = 0; r < R; ++r) {
      const float *begun = ahead ? ahead_of(s, row + r, block) : bias;
      for (int v = 0; v < 4; ++v) a[r][v] = load(begun + v * W);
    }
    if (!ahead) multiply<R, V>(a, p.x + (t * rows + row) * D, D, x, D);
    multiply<R, V, LAST>(a, &h[row * stride], stride, u, H);
    for (int r = 0; r < R; ++r) {
      int64_t step = t * rows + row + r;
      bool live = !p.valid || p.valid[step];
      for (int v = 0; v < (C::WIDE ? N : 1); ++v) {
        int64_t unit = block * B::UNITS + v * W, at = (row + r) * stride + unit, n = H - unit;
        vec h_before = load(&h[at]), y{};
        if (live)
          y = C::step(&a[r][v], Site{n, H, C::MEMORY ? &c[at] : nullptr, h_before,
                                     p.kept ? p.kept + step * C::KEPT * H + unit : nullptr});
        store(&next[at], live ? y : h_before);
        store(p.y + step * H + unit, y, n);
      }
    }
  }

  void advance(int64_t s, int64_t row0, int64_t row1, int64_t block0, int64_t block1) {
    if (ahead && s % ahead == 0) look_ahead(s, block0, block1);
    for (int64_t block = block0; block < block1; ++block)
      with_vectors(C::WIDE ? B::vectors(block, H) : 4, [&](auto vectors) {
        each_tile(row0, row1, [&](int64_t row, auto size) {
          this->template tile<decltype(size)::value, decltype(vectors)::value>(s, block, row);
        });
      });
  }

  // Fresh pages of what a step writes, each touched by one thread ahead of it: where two come at once both clear one.
  void touch(float *all, int64_t s, int64_t width, Share share) {
    constexpr int64_t PAGE = 4096 / sizeof(float);
    int64_t pages = rows * width / PAGE;
    for (int64_t i = share.first(pages); i < share.last(pages); ++i) all[time(s) * rows * width + i * PAGE] = 0;
  }

  void begin(int64_t s) {
    if (of_units) reset(s, 0, rows);
  }

  void work(int64_t s, Share share) {
    int64_t blocks = B::count(H), row0 = share.first(rows), row1 = share.last(rows);
    if (of_units) {
      if (s + 1 < T) touch(p.y, s + 1, H, share);
      if (s + 1 < T && p.kept) touch(p.kept, s + 1, C::KEPT * H, share);
      return advance(s, 0, rows, share.first(blocks), share.last(blocks));
    }
    for (s = 0; s < T; ++s) {
      reset(s, row0, row1);
      advance(s, row0, row1, 0, blocks);
    }
  }

  void run(const Crew &crew) {
    for (int64_t r = 0; r < rows; ++r) {
      copy_row(&state[0][r * stride], p.h0 + r * H, H);
      if (C::MEMORY) copy_row(&c[r * stride], p.c0 + r * H, H);
    }
    march(crew, of_units ? T : 1, *this);
    for (int64_t r = 0; r < rows; ++r) {
      copy_row(p.h_last + r * H, &state[T & 1][r * stride], H);
      if (C::MEMORY) copy_row(p.c_last + r * H, &c[r * stride], H);
    }
  }
};

} // namespace LJ_ISA
