// What one call is about, in plain arrays: the same for every instruction set. Row-major, sizes in elements.
#pragma once

#include <cstdint>

enum Cell : int32_t { LSTM = 0, GRU = 1, ELMAN_TANH = 2, ELMAN_RELU = 3, ELMAN_SIGMOID = 4 };

struct Shape {
  int64_t time, batch, inputs, hidden;
  bool reverse;
};

// One group of a forward pass. Null where the call or the cell has none.
struct Forward {
  Shape shape;
  const float *x;                  // [time, batch, inputs]
  const float *w_x, *w_h;          // [inputs, gates * hidden], [hidden, gates * hidden]
  const float *b, *b_hn;           // [gates * hidden], [hidden]
  const float *h0, *c0;            // [batch, hidden]: the first carry
  const float *h1, *c1;            // the carry after a reset
  const uint8_t *valid, *resets;   // [time, batch]
  float *y;                        // [time, batch, hidden]
  float *h_last, *c_last;          // [batch, hidden]
  float *kept;                     // [time, batch, kept * hidden]: gates, for the backward pass
  float *before_h, *before_c;      // [time, batch, hidden]: the carry each step started from
};

// One group of a backward pass.
struct Backward {
  Shape shape;
  const float *w_h;
  const float *kept, *before_h, *before_c;
  const uint8_t *valid, *resets;
  const float *d_y, *d_h_last, *d_c_last;
  float *d_x;                      // [time, batch, gates * hidden]: cotangents of W_x x + b
  float *d_r;                      // the same of W_h h (+ b_hn); null where they are equal
  float *d_h0, *d_c0, *d_h1, *d_c1;
};

// Who runs the steps of one loop: for every step in turn `begin`, then `work` for each share of its units, by one thread
// or several. Plain pointers, since an inlined std::function of one instruction set could serve another.
struct Crew {
  int64_t shares;
  void (*march)(const Crew &, int64_t steps, void *loop, void (*begin)(void *, int64_t step),
                void (*work)(void *, int64_t step, int64_t share));
};

// The kernels of one instruction set. A pass is packed once, by ranges of blocks, then run by ranges of rows of the
// batch, each range by any thread.
struct Kernels {
  const char *name;
  int64_t rows;                                                   // of a register tile
  int64_t (*packed_size)(Cell, const Shape &, bool backward);     // in floats
  int64_t (*blocks)(Cell, const Shape &, bool backward);
  void (*pack_forward)(Cell, const Forward &, float *packed, int64_t block0, int64_t block1);
  void (*pack_backward)(Cell, const Backward &, float *packed, int64_t block0, int64_t block1);
  void (*forward)(Cell, const Forward &, const float *packed, int64_t row0, int64_t row1, const Crew &);
  void (*backward)(Cell, const Backward &, const float *packed, int64_t row0, int64_t row1, const Crew &);
};

const Kernels &best_kernels();
