// The loop over time, forward and backward, for every cell; compiled once for each instruction set.
#include <algorithm>
#include <cstdlib>
#include <memory>

#include "cells.h"

namespace LJ_ISA {

static int64_t padded(int64_t n) { return (n + W - 1) / W * W; }

// State rows stand one vector further apart than they need, so that powers of two do not share their cache sets.
static int64_t apart(int64_t n) { return padded(n) + W; }

struct Free {
  void operator()(float *p) const { std::free(p); }
};
typedef std::unique_ptr<float[], Free> Buffer;

static Buffer zeros(int64_t n) {
  void *p = nullptr;
  if (posix_memalign(&p, 64, 4 * (n + W))) std::abort();
  std::memset(p, 0, 4 * n);
  return Buffer(static_cast<float *>(p));
}

static void copy_row(float *to, const float *from, int64_t n) { std::memcpy(to, from, 4 * n); }

// So few rows read every weight from afar for little work: the products of their inputs are made for many steps at once.
constexpr int64_t FEW = 2;

// How a pass is cut: blocks of units, each with a panel for its rows' factors.
template <bool WIDE, int GATES> struct Blocks {
  static constexpr int N = WIDE ? 4 : GATES; // vectors of weights for each factor
  static constexpr int UNITS = WIDE ? 4 * W : W;
  static int64_t count(int64_t hidden) { return (hidden + UNITS - 1) / UNITS; }
  static int64_t size(int64_t depth) { return (depth * N + 4) * W; }
  // Vectors of units in a block: fewer in the last one.
  static int vectors(int64_t block, int64_t hidden) {
    int64_t left = (hidden - block * UNITS + W - 1) / W;
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

template <class Loop> static void march(const Crew &crew, int64_t steps, Loop &loop, int64_t blocks) {
  struct Whole {
    Loop &loop;
    int64_t blocks, shares;
  } whole{loop, blocks, crew.shares};
  crew.march(
      crew, steps, &whole, [](void *w, int64_t s) { static_cast<Whole *>(w)->loop.begin(s); },
      [](void *w, int64_t s, int64_t share) {
        auto &[loop, blocks, shares] = *static_cast<Whole *>(w);
        loop.step(s, blocks * share / shares, blocks * (share + 1) / shares);
      });
}

// ---------------------------------------------------------------- forward

template <class C> struct ForwardPass {
  typedef Blocks<C::WIDE, C::GATES> B;
  const Forward &p;
  const float *packed;
  int64_t row0, rows, D, H, stride, depth, ahead;
  Buffer state[2], c, inputs; // state: h before and after a step, in turn

  ForwardPass(const Forward &p, const float *packed, int64_t row0, int64_t row1)
      : p(p), packed(packed), row0(row0), rows(row1 - row0), D(p.shape.inputs), H(p.shape.hidden), stride(apart(H)),
        depth(D + H), ahead(rows <= FEW ? 4 * ROWS : 0),
        state{zeros(rows * stride), zeros(rows * stride)}, c(zeros(C::MEMORY ? rows * stride : 0)), inputs(zeros(ahead * rows * B::count(H) * 4 * W)) {}

  // Panels of one block: inputs, state, then four vectors of biases.
  static void pack_blocks(const Forward &p, float *packed, int64_t block0, int64_t block1) {
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

  int64_t time(int64_t s) const { return p.shape.reverse ? p.shape.time - 1 - s : s; }

  const uint8_t *mask(const uint8_t *all, int64_t t) const {
    return all ? all + t * p.shape.batch + row0 : nullptr;
  }

  void begin(int64_t s) {
    const uint8_t *resets = mask(p.resets, time(s));
    float *h = state[s & 1].get();
    for (int64_t r = 0; resets && r < rows; ++r)
      if (resets[r]) {
        copy_row(&h[r * stride], p.h1 + (row0 + r) * H, H);
        if (C::MEMORY) copy_row(&c[r * stride], p.c1 + (row0 + r) * H, H);
      }
  }

  float *ahead_of(int64_t s, int64_t row, int64_t block) {
    return &inputs[((s % ahead * rows + row) * B::count(H) + block) * 4 * W];
  }

  // The inputs' products of step s and those after it, with the biases.
  void look_ahead(int64_t s, int64_t block0, int64_t block1) {
    int64_t steps = std::min(ahead, p.shape.time - s), apart = p.shape.batch * D;
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
            multiply<R, V>(a, p.x + time(first) * apart + (row0 + row) * D, p.shape.reverse ? -apart : apart, x, D);
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
    if (!ahead) multiply<R, V>(a, p.x + (t * p.shape.batch + row0 + row) * D, D, x, D);
    multiply<R, V, LAST>(a, &h[row * stride], stride, u, H);
    const uint8_t *valid = mask(p.valid, t);
    for (int r = 0; r < R; ++r) {
      int64_t step = t * p.shape.batch + row0 + row + r;
      for (int v = 0; v < (C::WIDE ? N : 1); ++v) {
        int64_t unit = block * B::UNITS + v * W, at = (row + r) * stride + unit, n = H - unit;
        vec h_before = load(&h[at]), y{};
        if (p.before_h) store(p.before_h + step * H + unit, h_before, n);
        if (p.before_c) store(p.before_c + step * H + unit, load(&c[at]), n);
        bool live = !valid || valid[row + r];
        if (live)
          y = C::step(&a[r][v], Site{n, H, C::MEMORY ? &c[at] : nullptr, h_before,
                                     p.kept ? p.kept + step * C::KEPT * H + unit : nullptr});
        store(&next[at], live ? y : h_before);
        store(p.y + step * H + unit, y, n);
      }
    }
  }

  void step(int64_t s, int64_t block0, int64_t block1) {
    if (ahead && s % ahead == 0) look_ahead(s, block0, block1);
    for (int64_t block = block0; block < block1; ++block)
      with_vectors(C::WIDE ? B::vectors(block, H) : 4, [&](auto vectors) {
        each_tile(0, rows, [&](int64_t row, auto size) {
          this->template tile<decltype(size)::value, decltype(vectors)::value>(s, block, row);
        });
      });
  }

  void run(const Crew &crew) {
    for (int64_t r = 0; r < rows; ++r) {
      copy_row(&state[0][r * stride], p.h0 + (row0 + r) * H, H);
      if (C::MEMORY) copy_row(&c[r * stride], p.c0 + (row0 + r) * H, H);
    }
    march(crew, p.shape.time, *this, B::count(H));
    for (int64_t r = 0; r < rows; ++r) {
      copy_row(p.h_last + (row0 + r) * H, &state[p.shape.time & 1][r * stride], H);
      if (C::MEMORY) copy_row(p.c_last + (row0 + r) * H, &c[r * stride], H);
    }
  }
};

// ---------------------------------------------------------------- backward

template <class C> struct BackwardPass {
  typedef Blocks<true, 4> B;
  const Backward &p;
  const float *packed;
  int64_t row0, rows, H, stride, depth;
  Buffer direct, c;

  BackwardPass(const Backward &p, const float *packed, int64_t row0, int64_t row1)
      : p(p), packed(packed), row0(row0), rows(row1 - row0), H(p.shape.hidden), stride(apart(H)),
        depth(C::GATES * H), direct(zeros(rows * stride)), c(zeros(C::MEMORY ? rows * stride : 0)) {}

  // Panels of the recurrent weights turned round: a row of cotangents times these gives that of h.
  static void pack_blocks(const Backward &p, float *packed, int64_t block0, int64_t block1) {
    int64_t H = p.shape.hidden, depth = C::GATES * H;
    for (int64_t block = block0; block < block1; ++block) {
      float *panel = packed + block * B::size(depth);
      int n = B::vectors(block, H);
      for (int64_t unit = 0; unit < n * W; ++unit) {
        const float *row = block * B::UNITS + unit < H ? p.w_h + (block * B::UNITS + unit) * depth : nullptr;
        for (int64_t k = 0; k < depth; ++k) panel[k * n * W + unit] = row ? row[k] : 0.0f;
      }
    }
  }

  int64_t place(int64_t t) const { return t * p.shape.batch + row0; }

  // What the end of a tile reads lies far apart in memory: ask for it before the product.
  template <int R, int N> LJ_INLINE void fetch(int64_t t, int64_t block, int64_t row) {
    for (int r = 0; r < R; ++r) {
      int64_t step = place(t) + row + r;
      for (int64_t unit = block * B::UNITS; unit < block * B::UNITS + N * W; unit += 16) {
        for (int gate = 0; gate < C::KEPT; ++gate) __builtin_prefetch(p.kept + (step * C::KEPT + gate) * H + unit);
        __builtin_prefetch(p.d_y + step * H + unit);
        __builtin_prefetch((C::MEMORY ? p.before_c : p.before_h) + step * H + unit);
      }
    }
  }

  // The cotangents of block's units before step `later`, pulled through step t. Both exist but at the two ends of
  // time: `later` is negative at the last step, t at the very end, where only the first carry is left.
  template <int R, int N> LJ_INLINE void tile(int64_t t, int64_t later, int64_t block, int64_t row) {
    vec a[R][4];
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < N; ++v) a[r][v] = load(&direct[(row + r) * stride + block * B::UNITS + v * W]);
    if (t >= 0) fetch<R, N>(t, block, row);
    if (later >= 0) {
      const float *d = (p.d_r ? p.d_r : p.d_x) + (place(later) + row) * depth;
      multiply<R, N>(a, d, depth, packed + block * B::size(depth), depth);
    }
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < N; ++v)
        finish(t, later >= 0 && p.resets && p.resets[place(later) + row + r], row + r, block * B::UNITS + v * W, a[r][v]);
  }

  LJ_INLINE void finish(int64_t t, bool reset, int64_t row, int64_t unit, vec dh) {
    int64_t n = H - unit, at = row * stride + unit, carry = (row0 + row) * H + unit;
    if (reset) { // the later step started from the carry after a reset: this one's own goes nowhere
      store(p.d_h1 + carry, load(p.d_h1 + carry, n) + dh, n);
      dh = vec{};
      if (C::MEMORY) {
        store(p.d_c1 + carry, load(p.d_c1 + carry, n) + load(&c[at]), n);
        store(&c[at], vec{});
      }
    }
    if (t < 0) {
      store(p.d_h0 + carry, dh, n);
      if (C::MEMORY) store(p.d_c0 + carry, load(&c[at]), n);
      return;
    }
    int64_t step = place(t) + row;
    float *d_x = p.d_x + step * depth + unit, *d_r = C::APART ? p.d_r + step * depth + unit : nullptr;
    if (p.valid && !p.valid[step]) {
      for (int gate = 0; gate < C::GATES; ++gate) {
        put(d_x, gate, vec{}, n, H);
        if (C::APART) put(d_r, gate, vec{}, n, H);
      }
      store(&direct[at], dh);
      return;
    }
    dh += load(p.d_y + step * H + unit, n);
    C::pull(dh, Slope{n, H, p.kept + step * C::KEPT * H + unit, p.before_h ? p.before_h + step * H + unit : nullptr,
                      C::MEMORY ? p.before_c + step * H + unit : nullptr, C::MEMORY ? &c[at] : nullptr, &direct[at], d_x,
                      d_r});
  }

  // The step that comes s-th: the last in time first; after all of them the one that reaches the first carry.
  int64_t time(int64_t s) const {
    return s < 0 || s >= p.shape.time ? -1 : p.shape.reverse ? s : p.shape.time - 1 - s;
  }

  void begin(int64_t) {}

  void step(int64_t s, int64_t block0, int64_t block1) {
    int64_t t = time(s), later = time(s - 1);
    for (int64_t block = block0; block < block1; ++block)
      with_vectors(B::vectors(block, H), [&](auto vectors) {
        each_tile(0, rows, [&](int64_t row, auto size) {
          this->template tile<decltype(size)::value, decltype(vectors)::value>(t, later, block, row);
        });
      });
  }

  void run(const Crew &crew) {
    for (int64_t r = 0; r < rows; ++r) {
      int64_t carry = (row0 + r) * H;
      copy_row(&direct[r * stride], p.d_h_last + carry, H);
      if (C::MEMORY) copy_row(&c[r * stride], p.d_c_last + carry, H);
      if (p.d_h1) std::memset(p.d_h1 + carry, 0, 4 * H);
      if (p.d_c1) std::memset(p.d_c1 + carry, 0, 4 * H);
    }
    march(crew, p.shape.time + 1, *this, B::count(H));
  }
};

// ---------------------------------------------------------------- the table

template <class F> static void with_cell(Cell cell, F &&f) {
  switch (cell) {
  case LSTM: return f(Lstm{});
  case GRU: return f(Gru{});
  case ELMAN_TANH: return f(Elman<ELMAN_TANH>{});
  case ELMAN_RELU: return f(Elman<ELMAN_RELU>{});
  case ELMAN_SIGMOID: return f(Elman<ELMAN_SIGMOID>{});
  }
}

static int64_t blocks(Cell cell, const Shape &s, bool backward) {
  int64_t n = 0;
  with_cell(cell, [&](auto c) {
    typedef decltype(c) C;
    n = backward ? BackwardPass<C>::B::count(s.hidden) : ForwardPass<C>::B::count(s.hidden);
  });
  return n;
}

static int64_t packed_size(Cell cell, const Shape &s, bool backward) {
  int64_t n = 0;
  with_cell(cell, [&](auto c) {
    typedef decltype(c) C;
    n = backward ? BackwardPass<C>::B::size(C::GATES * s.hidden) : ForwardPass<C>::B::size(s.inputs + s.hidden);
  });
  return n * blocks(cell, s, backward);
}

static void pack_forward(Cell cell, const Forward &p, float *packed, int64_t block0, int64_t block1) {
  with_cell(cell, [&](auto c) { ForwardPass<decltype(c)>::pack_blocks(p, packed, block0, block1); });
}

static void pack_backward(Cell cell, const Backward &p, float *packed, int64_t block0, int64_t block1) {
  with_cell(cell, [&](auto c) { BackwardPass<decltype(c)>::pack_blocks(p, packed, block0, block1); });
}

static void forward(Cell cell, const Forward &p, const float *packed, int64_t row0, int64_t row1,
                    const Crew &crew) {
  with_cell(cell, [&](auto c) { ForwardPass<decltype(c)>(p, packed, row0, row1).run(crew); });
}

static void backward(Cell cell, const Backward &p, const float *packed, int64_t row0, int64_t row1,
                    const Crew &crew) {
  with_cell(cell, [&](auto c) { BackwardPass<decltype(c)>(p, packed, row0, row1).run(crew); });
}

#define LJ_STRING(x) #x
#define LJ_NAME(x) LJ_STRING(x)
extern const Kernels kernels;
const Kernels kernels = {LJ_NAME(LJ_ISA), ROWS, packed_size, blocks, pack_forward, pack_backward, forward, backward};

} // namespace LJ_ISA
