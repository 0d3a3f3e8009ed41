// The door: XLA's foreign function interface. Every array begins with an axis of groups, of length 1 where they share
// it; an array of no elements stands for one that the call has not.
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#include "problem.h"
#include "threads.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
typedef ffi::Buffer<ffi::F32> Floats;
typedef ffi::Buffer<ffi::PRED> Bools;
typedef ffi::Result<Floats> Out;

namespace {

// The part of a group in an array that may be shared, or absent.
const float *part(const Floats &a, int64_t group) {
  if (a.element_count() == 0) return nullptr;
  int64_t groups = a.dimensions()[0];
  return a.typed_data() + (groups == 1 ? 0 : group * (a.element_count() / groups));
}
const uint8_t *part(const Bools &a, int64_t group) {
  if (a.element_count() == 0) return nullptr;
  int64_t groups = a.dimensions()[0];
  auto *data = reinterpret_cast<const uint8_t *>(a.untyped_data());
  return data + (groups == 1 ? 0 : group * (a.element_count() / groups));
}
float *part(Out &a, int64_t group) { return const_cast<float *>(part(*a, group)); }

// XLA hands out fresh memory for every call, and a page fault for each 4 kB of it costs more than the writing: ask for
// large pages before the first touch.
void use_large_pages(void *data, size_t bytes) {
#ifdef MADV_HUGEPAGE
  constexpr uintptr_t page = size_t(2) << 20;
  uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page;
  uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes) / page * page;
  if (begin < end) madvise(reinterpret_cast<void *>(begin), end - begin, MADV_HUGEPAGE); // advice: failure is no harm
#endif
}
template <class... Outs> void use_large_pages(Outs &...outs) {
  (use_large_pages(outs->untyped_data(), 4 * outs->element_count()), ...);
}

struct Free {
  void operator()(float *p) const { std::free(p); }
};

// When a loop is split by units, not by batch: bytes of recurrent weights, measured with two cores of 1 MB second-level
// cache each.
constexpr int64_t LEAST_SHARE = 32 << 10, MANY_WEIGHTS = 512 << 10, FEW_ROWS = 4;

const Crew ALONE{1, [](const Crew &, int64_t steps, void *loop, void (*begin)(void *, int64_t),
                       void (*work)(void *, int64_t, int64_t)) {
                   for (int64_t s = 0; s < steps; ++s) {
                     begin(loop, s);
                     work(loop, s, 0);
                   }
                 }};

// Packs every group, then runs every group's rows, by as many threads as the work is worth.
template <class Problem, class Pack, class Run>
ffi::Error run(ffi::ThreadPool &pool, Cell cell, const std::vector<Problem> &groups, bool backward, Pack pack, Run go) {
  const Kernels &kernels = best_kernels();
  const Shape &s = groups[0].shape;
  int64_t gates = cell == LSTM ? 4 : cell == GRU ? 3 : 1;
  int64_t n = groups.size(), size = kernels.packed_size(cell, s, backward), blocks = kernels.blocks(cell, s, backward);
  void *memory = nullptr;
  if (posix_memalign(&memory, 64, 4 * std::max<int64_t>(1, n * size)))
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "no memory for packed weights");
  use_large_pages(memory, 4 * n * size);
  std::unique_ptr<float, Free> packed(static_cast<float *>(memory));

  // A thread is worth its call from about 20 microseconds of work.
  double products = double(n) * s.time * s.batch * s.hidden * (s.hidden + (backward ? 0 : s.inputs));
  int64_t threads = products < 3e5 ? 1 : std::max<int64_t>(1, pool.num_threads());
  int64_t cuts = std::min(std::max<int64_t>(1, s.batch / 2), (threads + n - 1) / n);

  int64_t ranges = std::min(blocks, (threads + n - 1) / n);
  share(pool, n * blocks * (s.inputs + s.hidden) < 20000 ? 0 : threads - 1, n * ranges, [&](int64_t i) {
    int64_t group = i / ranges, k = i % ranges;
    pack(kernels, groups[group], packed.get() + group * size, blocks * k / ranges, blocks * (k + 1) / ranges);
  });
  // Shares of the units read each weight into one core's caches alone: worth the waiting at every step where rows are
  // few or weights many. Shares of the batch never wait.
  int64_t weights = 4 * gates * s.hidden * s.hidden, shares = std::min({threads, blocks, weights / LEAST_SHARE});
  if (n == 1 && shares > 1 && (s.batch <= FEW_ROWS || weights >= MANY_WEIGHTS)) {
    go(kernels, groups[0], packed.get(), 0, s.batch, March<ffi::ThreadPool>(pool, shares));
    return ffi::Error::Success();
  }
  share(pool, threads - 1, n * cuts, [&](int64_t i) {
    int64_t group = i / cuts, k = i % cuts;
    go(kernels, groups[group], packed.get() + group * size, s.batch * k / cuts, s.batch * (k + 1) / cuts, ALONE);
  });
  return ffi::Error::Success();
}

ffi::Error forward(ffi::ThreadPool pool, int32_t cell_, bool reverse, Floats x, Floats w_x, Floats w_h, Floats b,
                   Floats b_hn, Floats h0, Floats c0, Floats h1, Floats c1, Bools valid, Bools resets, Out y, Out h_last,
                   Out c_last, Out kept, Out before_h, Out before_c) {
  Cell cell = static_cast<Cell>(cell_);
  use_large_pages(y, kept, before_h, before_c);
  auto d = y->dimensions();
  Shape shape{d[1], d[2], x.dimensions()[3], d[3], reverse};
  std::vector<Forward> groups;
  for (int64_t g = 0; g < d[0]; ++g)
    groups.push_back(Forward{shape, part(x, g), part(w_x, g), part(w_h, g), part(b, g), part(b_hn, g), part(h0, g),
                             part(c0, g), part(h1, g), part(c1, g), part(valid, g), part(resets, g), part(y, g),
                             part(h_last, g), part(c_last, g), part(kept, g), part(before_h, g), part(before_c, g)});
  if (groups.empty() || shape.batch == 0) return ffi::Error::Success();
  return run(
      pool, cell, groups, false,
      [cell](auto &k, auto &p, float *packed, int64_t i, int64_t j) { k.pack_forward(cell, p, packed, i, j); },
      [cell](auto &k, auto &p, float *packed, int64_t i, int64_t j, const Crew &crew) {
        k.forward(cell, p, packed, i, j, crew);
      });
}

ffi::Error backward(ffi::ThreadPool pool, int32_t cell_, bool reverse, Floats w_h, Floats kept, Floats before_h,
                    Floats before_c, Bools valid, Bools resets, Floats d_y, Floats d_h_last, Floats d_c_last, Out d_x,
                    Out d_r, Out d_h0, Out d_c0, Out d_h1, Out d_c1) {
  Cell cell = static_cast<Cell>(cell_);
  use_large_pages(d_x, d_r);
  auto d = d_x->dimensions();
  Shape shape{d[1], d[2], 0, w_h.dimensions()[1], reverse};
  std::vector<Backward> groups;
  for (int64_t g = 0; g < d[0]; ++g)
    groups.push_back(Backward{shape, part(w_h, g), part(kept, g), part(before_h, g), part(before_c, g), part(valid, g),
                              part(resets, g), part(d_y, g), part(d_h_last, g), part(d_c_last, g), part(d_x, g),
                              part(d_r, g), part(d_h0, g), part(d_c0, g), part(d_h1, g), part(d_c1, g)});
  if (groups.empty() || shape.batch == 0) return ffi::Error::Success();
  return run(
      pool, cell, groups, true,
      [cell](auto &k, auto &p, float *packed, int64_t i, int64_t j) { k.pack_backward(cell, p, packed, i, j); },
      [cell](auto &k, auto &p, float *packed, int64_t i, int64_t j, const Crew &crew) {
        k.backward(cell, p, packed, i, j, crew);
      });
}

} // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_jax_forward, forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<int32_t>("cell")
                                  .Attr<bool>("reverse")
                                  .Arg<Floats>() // x [groups, time, batch, inputs]
                                  .Arg<Floats>() // w_x [groups, inputs, gates * hidden]
                                  .Arg<Floats>() // w_h [groups, hidden, gates * hidden]
                                  .Arg<Floats>() // b [groups, gates * hidden]
                                  .Arg<Floats>() // b_hn [groups, hidden]
                                  .Arg<Floats>() // h0 [groups, batch, hidden]
                                  .Arg<Floats>() // c0
                                  .Arg<Floats>() // h1
                                  .Arg<Floats>() // c1
                                  .Arg<Bools>()  // valid [groups, time, batch]
                                  .Arg<Bools>()  // resets
                                  .Ret<Floats>() // y [groups, time, batch, hidden]
                                  .Ret<Floats>() // h_last [groups, batch, hidden]
                                  .Ret<Floats>() // c_last
                                  .Ret<Floats>() // kept [groups, time, batch, kept * hidden]
                                  .Ret<Floats>() // before_h [groups, time, batch, hidden]
                                  .Ret<Floats>() // before_c
);

XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_jax_backward, backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<int32_t>("cell")
                                  .Attr<bool>("reverse")
                                  .Arg<Floats>() // w_h [groups, hidden, gates * hidden]
                                  .Arg<Floats>() // kept [groups, time, batch, kept * hidden]
                                  .Arg<Floats>() // before_h [groups, time, batch, hidden]
                                  .Arg<Floats>() // before_c
                                  .Arg<Bools>()  // valid [groups, time, batch]
                                  .Arg<Bools>()  // resets
                                  .Arg<Floats>() // d_y [groups, time, batch, hidden]
                                  .Arg<Floats>() // d_h_last [groups, batch, hidden]
                                  .Arg<Floats>() // d_c_last
                                  .Ret<Floats>() // d_x [groups, time, batch, gates * hidden]
                                  .Ret<Floats>() // d_r
                                  .Ret<Floats>() // d_h0 [groups, batch, hidden]
                                  .Ret<Floats>() // d_c0
                                  .Ret<Floats>() // d_h1
                                  .Ret<Floats>() // d_c1
);

extern "C" const char *lstm_jax_instructions() { return best_kernels().name; }
