// What one call is about, in plain arrays: the same for every instruction set. Row-major, sizes in elements.
#pragma once

#include <cstdint>

enum Cell : int32_t { LSTM = 0, GRU = 1, ELMAN_TANH = 2, ELMAN_RELU = 3, ELMAN_SIGMOID = 4, GRU_BEFORE = 5 };

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
  const uint8_t *valid, *resets;   // [time, batch]; valid steps come first in time, resets are valid steps
  float *y;                        // [time, batch, hidden]
  float *h_last, *c_last;          // [batch, hidden]
  float *kept;                     // [time, batch, kept * hidden]: for the backward pass
};

// One group of a backward pass: cotangents of what a forward pass read. Weights' and inputs' are null where not wanted.
struct Backward {
  Shape shape;
  const float *x, *w_x, *w_h, *h0, *h1, *kept, *y;
  const uint8_t *valid, *resets;
  const float *d_y, *d_h_last, *d_c_last;
  float *d_x, *d_w_x, *d_w_h, *d_b, *d_b_hn;
  float *d_h0, *d_c0, *d_h1, *d_c1;
};

// Who runs one loop: for every step in turn `begin`, then `work` for each share of it, by one thread or several. Shares
// are of the units, and then meet at every step in time, or of the rows of the batch. Plain pointers, since an inlined
// std::function of one instruction set could serve another.
struct Crew {
  int64_t shares;
  bool of_units;
  void (*march)(const Crew &, int64_t steps, void *loop, void (*begin)(void *, int64_t step),
                void (*work)(void *, int64_t step, int64_t share));
};

// A pass of one instruction set. Weights are packed once, by ranges of panels, any thread a range.
template <class Problem> struct Pass {
  int64_t (*packed_size)(Cell, const Problem &); // in floats
  int64_t (*panels)(Cell, const Problem &);
  int64_t (*blocks)(Cell, const Problem &);      // of units: what shares of them are made of
  void (*pack)(Cell, const Problem &, float *packed, int64_t panel0, int64_t panel1);
  void (*run)(Cell, const Problem &, const float *packed, const Crew &);
};

struct Kernels {
  const char *name;
  Pass<Forward> forward;
  Pass<Backward> backward;
};

const Kernels &best_kernels();
