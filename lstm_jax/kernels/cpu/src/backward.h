// The loop over time, backward, and the gradients of weights and inputs: after every few steps, while the cotangents of
// pre-activations are still at hand, which therefore are never written out.
#pragma once

#include "blocks.h"
#include "products.h"

namespace LJ_ISA {

// So many rows (steps times sequences), about, are multiplied into the gradients at once.
constexpr int64_t MANY = 1024;

template <class C> struct BackwardPass {
  typedef Blocks<true, 4> B;
  static constexpr int SCALED = C::PARTS == 2 ? C::GATES - 1 : C::GATES; // the gates from here on read r h, not h
  const Backward &p;
  const float *packed, *packed_x;
  const bool of_units;
  int64_t T, rows, D, H, stride, steps, chunks, phases;
  Buffer direct, r_h, c, sums; // r_h: sums of a second part
  Cotangents d, apart_d;       // of W_x x + b, and of W_h h + b_hn where they are not the same: of one chunk
  const Cotangents &d_r;
  Array<const float *> inputs, before, scaled; // rows of one chunk: of x, of the h each step started from, of r h
  TurnedProduct d_w_x, d_w_h, d_w_scaled;

  BackwardPass(const Backward &p, const float *packed, const Crew &crew)
      : p(p), packed(packed), packed_x(packed + blocks(p) * panel_size(p)), of_units(crew.of_units), T(p.shape.time),
        rows(p.shape.batch), D(p.shape.inputs), H(p.shape.hidden), stride(apart(H)),
        steps(std::max<int64_t>(2, std::min(T, MANY / std::max<int64_t>(1, rows)))),
        chunks(std::max<int64_t>(1, (T + steps - 1) / steps)), phases(of_units ? steps * C::PARTS + 1 : 2),
        direct(zeros(rows * stride)), r_h(zeros(C::PARTS == 2 ? rows * stride : 0)),
        c(zeros(C::MEMORY ? rows * stride : 0)), sums(room_for<float>(p.d_b_hn ? C::GATES * H : 0)),
        d(steps * rows, C::GATES, H), apart_d(C::APART ? steps * rows : 0, C::GATES, H), d_r(C::APART ? apart_d : d),
        inputs(room_for<const float *>(steps * rows)), before(room_for<const float *>(steps * rows)),
        scaled(room_for<const float *>(C::PARTS == 2 ? steps * rows : 0)), d_w_x(d, 0, C::GATES, D, p.d_w_x, p.d_b),
        d_w_h(d_r, 0, SCALED, H, p.d_w_h, p.d_b_hn ? sums.get() : nullptr),
        d_w_scaled(d, SCALED, C::GATES, H, C::PARTS == 2 ? p.d_w_h : nullptr, nullptr) {}

  static int64_t blocks(const Backward &p) { return B::count(p.shape.hidden); }
  static int64_t panels(const Backward &p) { return blocks(p) + (p.d_x ? B::count(p.shape.inputs) : 0); }
  static int64_t panel_size(const Backward &p) { return B::size(C::GATES * padded(p.shape.hidden)); }
  static int64_t packed_size(const Backward &p) { return panels(p) * panel_size(p); }

  // Panels of the weights turned round: a row of cotangents times these gives that of h, or of x.
  static void pack_panels(const Backward &p, float *packed, int64_t panel0, int64_t panel1) {
    int64_t H = p.shape.hidden, recurrent = blocks(p);
    for (int64_t i = panel0; i < panel1; ++i) {
      bool h = i < recurrent;
      int64_t block = h ? i : i - recurrent, units = h ? H : p.shape.inputs;
      float *panel = packed + i * panel_size(p);
      int n = B::vectors(block, units);
      for (int64_t unit = 0; unit < n * W; ++unit) {
        int64_t row = block * B::UNITS + unit;
        const float *from = row < units ? (h ? p.w_h : p.w_x) + row * C::GATES * H : nullptr;
        for (int64_t gate = 0, k = 0; gate < C::GATES; ++gate)
          for (int64_t column = 0; column < padded(H); ++column, ++k)
            panel[k * n * W + unit] = from && column < H ? from[gate * H + column] : 0.0f;
      }
    }
  }

  // The step that comes s-th: the last in the loop's order first.
  int64_t time(int64_t s) const { return p.shape.reverse ? s : T - 1 - s; }

  int64_t slot(int64_t s) const { return s % steps * rows; }

  // The h that a valid step started from.
  const float *h_before(int64_t s, int64_t row) const {
    int64_t step = time(s) * rows + row;
    if (p.resets && p.resets[step]) return p.h1 + row * H;
    int64_t earlier = s + 1 < T ? time(s + 1) * rows + row : -1;
    return earlier < 0 || (p.valid && !p.valid[earlier]) ? p.h0 + row * H : p.y + earlier * H;
  }

  // The r h of a step; of one that is not valid, whose cotangents are zero, anything finite.
  const float *scaled_h(int64_t s, int64_t row) const {
    int64_t step = time(s) * rows + row;
    return p.valid && !p.valid[step] ? p.h0 + row * H : p.kept + (step * C::KEPT + 3) * H;
  }

  // What the end of a tile reads lies far apart in memory: ask for it before the product.
  template <int R, int N> LJ_INLINE void fetch(int64_t s, int64_t block, int64_t row) {
    for (int r = 0; r < R; ++r) {
      int64_t step = time(s) * rows + row + r;
      for (int64_t unit = block * B::UNITS; unit < block * B::UNITS + N * W; unit += 16) {
        for (int part = 0; part < C::KEPT; ++part) __builtin_prefetch(p.kept + (step * C::KEPT + part) * H + unit);
        __builtin_prefetch(p.d_y + step * H + unit);
        if (!C::MEMORY) __builtin_prefetch(p.y + step * H + unit);
      }
    }
  }

  // The cotangents of a block's units before step s - 1 of this loop, pulled through step s. At its two ends only one of
  // the steps is there. In a second part, those of r h at step s.
  template <int R, int N>
  LJ_INLINE void tile(int64_t s, int64_t part, int64_t block, int64_t row, int64_t first, int64_t next, bool last) {
    vec a[R][4];
    float *sums = part ? r_h.get() : direct.get();
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < N; ++v) a[r][v] = load(&sums[(row + r) * stride + block * B::UNITS + v * W]);
    if (s < T && last && !part) fetch<R, N>(s, block, row);
    if (part || s > 0)
      d_r.multiply_into<R, N>(a, slot(part ? s : s - 1) + row, packed + block * panel_size(p), first, next);
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < N; ++v) {
        int64_t unit = block * B::UNITS + v * W;
        if (!last) store(&sums[(row + r) * stride + unit], a[r][v]);
        else if (!part) finish(s, row + r, unit, a[r][v]);
        else finish_second(s, row + r, unit, a[r][v]);
      }
  }

  LJ_INLINE void finish(int64_t s, int64_t row, int64_t unit, vec dh) {
    int64_t n = H - unit, at = row * stride + unit, carry = row * H + unit;
    if (s > 0 && p.resets && p.resets[time(s - 1) * rows + row]) {
      // The later step started from the carry after a reset: this one's own goes nowhere.
      store(p.d_h1 + carry, load(p.d_h1 + carry, n) + dh, n);
      dh = vec{};
      if (C::MEMORY) {
        store(p.d_c1 + carry, load(p.d_c1 + carry, n) + load(&c[at]), n);
        store(&c[at], vec{});
      }
    }
    if (s == T) {
      store(p.d_h0 + carry, dh, n);
      if (C::MEMORY) store(p.d_c0 + carry, load(&c[at]), n);
      return;
    }
    int64_t step = time(s) * rows + row;
    Slope slope = slope_at(s, row, unit);
    if (p.valid && !p.valid[step]) {
      for (int gate = 0; gate < C::GATES; ++gate) {
        store(slope.d[gate], vec{});
        if (C::APART) store(slope.d_r[gate], vec{});
      }
      store(&direct[at], dh);
      return;
    }
    dh += load(p.d_y + step * H + unit, n);
    C::pull(dh, slope);
  }

  LJ_INLINE Slope slope_at(int64_t s, int64_t row, int64_t unit) {
    int64_t step = time(s) * rows + row, at = row * stride + unit;
    Slope slope{};
    slope.n = H - unit, slope.hidden = H, slope.direct = &direct[at];
    slope.kept = C::KEPT ? p.kept + step * C::KEPT * H + unit : p.y + step * H + unit;
    if (C::MEMORY) slope.c = &c[at];
    else if (C::KEPT) slope.h_before = h_before(s, row) + unit;
    for (int gate = 0; gate < C::GATES; ++gate) {
      slope.d[gate] = d.at(slot(s) + row, gate, unit);
      slope.d_r[gate] = C::APART ? d_r.at(slot(s) + row, gate, unit) : nullptr;
    }
    return slope;
  }

  LJ_INLINE void finish_second(int64_t s, int64_t row, int64_t unit, vec d) {
    if constexpr (C::PARTS == 2) {
      store(&r_h[row * stride + unit], vec{});
      if (s < T && (!p.valid || p.valid[time(s) * rows + row])) C::pull_second(d, slope_at(s, row, unit));
    }
  }

  void advance(int64_t s, int64_t part, int64_t row0, int64_t row1, int64_t block0, int64_t block1) {
    int64_t all = padded(H) / W;
    for (int64_t block = block0; block < block1 && !(part && s == T); ++block)
      with_vectors(B::vectors(block, H), [&](auto vectors) {
        each_slice(part ? SCALED * all : 0, (part ? C::GATES : SCALED) * all,
                   [&](int64_t first, int64_t next, bool last) {
                     each_tile(row0, row1, [&](int64_t row, auto size) {
                       this->template tile<decltype(size)::value, decltype(vectors)::value>(s, part, block, row, first,
                                                                                            next, last);
                     });
                   });
      });
  }

  // The crew's steps: for each chunk those of the loop, one by one or at once, and then the gradients; at last the step
  // that reaches the first carry.
  void begin(int64_t i) {
    int64_t first = i / phases * steps, last = std::min(first + steps, T);
    if (i % phases != phases - 1) return;
    for (int64_t s = first; s < last; ++s)
      for (int64_t row = 0; row < rows; ++row) {
        inputs[slot(s) + row] = p.x + (time(s) * rows + row) * D;
        before[slot(s) + row] = h_before(s, row);
        if (C::PARTS == 2) scaled[slot(s) + row] = scaled_h(s, row);
      }
  }

  void work(int64_t i, Share share) {
    int64_t first = i / phases * steps, last = std::min(first + steps, T), phase = i % phases, many = B::count(H);
    if (i == chunks * phases) first = T, last = T + 1;
    else if (phase == phases - 1) return add_gradients(first == 0, (last - first) * rows, share);
    if (of_units) {
      int64_t s = first + phase / C::PARTS;
      if (s < last) advance(s, phase % C::PARTS, 0, rows, share.first(many), share.last(many));
    } else {
      for (int64_t s = first; s < last; ++s)
        for (int64_t part = 0; part < C::PARTS; ++part) advance(s, part, share.first(rows), share.last(rows), 0, many);
    }
  }

  void add_gradients(bool fresh, int64_t n, Share share) {
    d_w_x.add(inputs.get(), n, fresh, share);
    d_w_h.add(before.get(), n, fresh, share);
    if (C::PARTS == 2) d_w_scaled.add(scaled.get(), n, fresh, share);
    for (int64_t block = 0; p.d_x && block < B::count(D); ++block)
      with_vectors(B::vectors(block, D), [&](auto vectors) {
        constexpr int N = decltype(vectors)::value;
        each_slice(0, C::GATES * padded(H) / W, [&](int64_t first, int64_t next, bool) {
          each_tile(share.first(n), share.last(n), [&](int64_t row, auto size) {
            constexpr int R = decltype(size)::value;
            vec a[R][4] = {};
            d.multiply_into<R, N>(a, row, packed_x + block * panel_size(p), first, next);
            for (int r = 0; r < R; ++r)
              for (int v = 0; v < N; ++v) {
                int64_t unit = block * B::UNITS + v * W;
                float *to = p.d_x + (inputs[row + r] - p.x) + unit;
                store(to, first ? load(to, D - unit) + a[r][v] : a[r][v], D - unit);
              }
          });
        });
      });
  }

  void run(const Crew &crew) {
    for (int64_t r = 0; r < rows; ++r) {
      copy_row(&direct[r * stride], p.d_h_last + r * H, H);
      if (C::MEMORY) copy_row(&c[r * stride], p.d_c_last + r * H, H);
    }
    if (p.d_h1) std::memset(p.d_h1, 0, 4 * rows * H);
    if (p.d_c1) std::memset(p.d_c1, 0, 4 * rows * H);
    march(crew, chunks * phases + 1, *this);
    if (p.d_b_hn) copy_row(p.d_b_hn, &sums[2 * H], H);
  }
};

} // namespace LJ_ISA
