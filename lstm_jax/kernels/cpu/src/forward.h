// The loop over time, forward.
#pragma once

#include "blocks.h"

namespace LJ_ISA {

// So few rows read every weight from afar for little work: products of their inputs are made for many steps at once.
constexpr int64_t FEW = 2;

template <class C> struct ForwardPass {
  typedef typename C::First First;
  template <class P> using B = Blocks<P::WIDE, P::GATES>;
  const Forward &p;
  const float *packed;
  const bool of_units;
  int64_t T, rows, D, H, stride, depth, ahead;
  Buffer state[2], c, scaled, inputs; // state: h before and after a step, in turn; scaled: what second parts multiply

  ForwardPass(const Forward &p, const float *packed, const Crew &crew)
      : p(p), packed(packed), of_units(crew.of_units), T(p.shape.time), rows(p.shape.batch), D(p.shape.inputs),
        H(p.shape.hidden), stride(apart(H)), depth(D + H), ahead(rows <= FEW && C::PARTS == 1 ? 4 * ROWS : 0),
        state{zeros(rows * stride), zeros(rows * stride)}, c(zeros(C::MEMORY || C::PARTS == 2 ? rows * stride : 0)),
        scaled(zeros(C::PARTS == 2 ? rows * stride : 0)),
        inputs(room_for<float>(ahead * rows * B<First>::count(H) * 4 * W)) {}

  template <class F> LJ_INLINE static void with_part(int64_t part, F &&f) {
    if constexpr (C::PARTS == 2)
      if (part == 1) return f(typename C::Second{});
    f(First{});
  }
  template <class P> static int64_t size(const Forward &p) {
    return B<P>::count(p.shape.hidden) * B<P>::size(p.shape.inputs + p.shape.hidden);
  }
  // Over the parts of a step: of the blocks of units, the number in all or the least; of their panels, the size.
  static int64_t panels(const Forward &p) {
    int64_t n = 0;
    for (int64_t i = 0; i < C::PARTS; ++i)
      with_part(i, [&](auto part) { n += B<decltype(part)>::count(p.shape.hidden); });
    return n;
  }
  static int64_t blocks(const Forward &p) {
    int64_t n = p.shape.hidden;
    for (int64_t i = 0; i < C::PARTS; ++i)
      with_part(i, [&](auto part) { n = std::min(n, B<decltype(part)>::count(p.shape.hidden)); });
    return n;
  }
  static int64_t packed_size(const Forward &p) {
    int64_t n = 0;
    for (int64_t i = 0; i < C::PARTS; ++i) with_part(i, [&](auto part) { n += size<decltype(part)>(p); });
    return n;
  }

  static void pack_panels(const Forward &p, float *packed, int64_t panel0, int64_t panel1) {
    int64_t first = B<First>::count(p.shape.hidden);
    for (int64_t i = panel0; i < panel1; ++i)
      with_part(i >= first, [&](auto part) {
        pack_block<decltype(part)>(p, packed + (i < first ? 0 : size<First>(p)), i < first ? i : i - first);
      });
  }

  // Panels of one block: inputs, state, then four vectors of biases.
  template <class P> static void pack_block(const Forward &p, float *packed, int64_t block) {
    typedef B<P> B;
    int64_t D = p.shape.inputs, H = p.shape.hidden, columns = C::GATES * H;
    float *x = packed + block * B::size(D + H), *h = x + D * B::N * W, *bias = h + H * B::N * W;
    std::memset(bias, 0, 16 * W);
    int n = P::WIDE ? B::vectors(block, H) : P::GATES;
    for (int v = 0; v < n; ++v) {
      int64_t unit = block * B::UNITS + (P::WIDE ? v * W : 0), column = (P::FROM + (P::WIDE ? 0 : v)) * H + unit;
      pack(x, n, v, p.w_x + column, columns, D, H - unit);
      pack(h, n, v, p.w_h + column, columns, H, H - unit);
      if (p.b) store(bias + v * W, load(p.b + column, H - unit));
      if (C::APART && v == 2 && p.b_hn) store(bias + 3 * W, load(p.b_hn + unit, H - unit));
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
    return &inputs[((s % ahead * rows + row) * B<First>::count(H) + block) * 4 * W];
  }

  // The inputs' products of step s and those after it, with the biases.
  void look_ahead(int64_t s, int64_t block0, int64_t block1) {
    typedef B<First> B;
    int64_t steps = std::min(ahead, T - s), apart = rows * D;
    for (int64_t block = block0; block < block1; ++block)
      with_vectors(First::WIDE ? B::vectors(block, H) : 4, [&](auto vectors) {
        constexpr int V = First::WIDE ? decltype(vectors)::value : First::GATES;
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
  template <class P, int R, int N> LJ_INLINE void tile(int64_t s, int64_t block, int64_t row) {
    typedef B<P> B;
    constexpr int LAST = P::WIDE ? N - 1 : P::LAST;
    constexpr int V = P::WIDE ? N : P::GATES;
    constexpr bool FINAL = P::FROM || C::PARTS == 1;
    const float *x = packed + (P::FROM ? size<First>(p) : 0) + block * B::size(depth);
    const float *u = x + D * B::N * W, *bias = u + H * B::N * W;
    int64_t t = time(s);
    const float *h = state[s & 1].get();
    float *to = FINAL ? state[(s + 1) & 1].get() : scaled.get();
    vec a[R][4];
    for (int r = 0; r < R; ++r) {
      const float *begun = ahead ? ahead_of(s, row + r, block) : bias;
      for (int v = 0; v < 4; ++v) a[r][v] = load(begun + v * W);
    }
    if (!ahead) multiply<R, V>(a, p.x + (t * rows + row) * D, D, x, D);
    multiply<R, V, LAST>(a, (P::FROM ? scaled.get() : h) + row * stride, stride, u, H);
    for (int r = 0; r < R; ++r) {
      int64_t step = t * rows + row + r;
      bool live = !p.valid || p.valid[step];
      for (int v = 0; v < (P::WIDE ? N : 1); ++v) {
        int64_t unit = block * B::UNITS + v * W, at = (row + r) * stride + unit, n = H - unit;
        vec h_before = load(&h[at]), y{};
        if (live)
          y = P::step(&a[r][v], Site{n, H, C::MEMORY || C::PARTS == 2 ? &c[at] : nullptr, h_before,
                                     p.kept ? p.kept + step * C::KEPT * H + unit : nullptr});
        store(&to[at], live ? y : h_before);
        if (FINAL) store(p.y + step * H + unit, y, n);
      }
    }
  }

  template <class P> void advance(int64_t s, int64_t row0, int64_t row1, int64_t block0, int64_t block1) {
    if (ahead && s % ahead == 0) look_ahead(s, block0, block1);
    for (int64_t block = block0; block < block1; ++block)
      with_vectors(P::WIDE ? B<P>::vectors(block, H) : 4, [&](auto vectors) {
        each_tile(row0, row1, [&](int64_t row, auto size) {
          this->template tile<P, decltype(size)::value, decltype(vectors)::value>(s, block, row);
        });
      });
  }

  // Fresh pages of what a step writes, each touched by one thread ahead of it: where two come at once both clear one.
  void touch(float *all, int64_t s, int64_t width, Share share) {
    constexpr int64_t PAGE = 4096 / sizeof(float);
    int64_t pages = rows * width / PAGE;
    for (int64_t i = share.first(pages); i < share.last(pages); ++i) all[time(s) * rows * width + i * PAGE] = 0;
  }

  void begin(int64_t i) {
    if (of_units && i % C::PARTS == 0) reset(i / C::PARTS, 0, rows);
  }

  void work(int64_t i, Share share) {
    if (of_units) {
      int64_t s = i / C::PARTS;
      if (s + 1 < T) touch(p.y, s + 1, H, share);
      if (s + 1 < T && p.kept) touch(p.kept, s + 1, C::KEPT * H, share);
      return with_part(i % C::PARTS, [&](auto part) {
        int64_t blocks = B<decltype(part)>::count(H);
        this->template advance<decltype(part)>(s, 0, rows, share.first(blocks), share.last(blocks));
      });
    }
    int64_t row0 = share.first(rows), row1 = share.last(rows);
    for (int64_t s = 0; s < T; ++s) {
      reset(s, row0, row1);
      for (int64_t k = 0; k < C::PARTS; ++k)
        with_part(k, [&](auto part) {
          this->template advance<decltype(part)>(s, row0, row1, 0, B<decltype(part)>::count(H));
        });
    }
  }

  void run(const Crew &crew) {
    for (int64_t r = 0; r < rows; ++r) {
      copy_row(&state[0][r * stride], p.h0 + r * H, H);
      if (C::MEMORY) copy_row(&c[r * stride], p.c0 + r * H, H);
    }
    march(crew, of_units ? T * C::PARTS : 1, *this);
    for (int64_t r = 0; r < rows; ++r) {
      copy_row(p.h_last + r * H, &state[T & 1][r * stride], H);
      if (C::MEMORY) copy_row(p.c_last + r * H, &c[r * stride], H);
    }
  }
};

} // namespace LJ_ISA
