// The door: XLA's foreign function interface. Every array begins with an axis of groups, of length 1 where they share
// it; an array of no elements stands for one that the call has not.
#include <algorithm>
#include <initializer_list>
#include <vector>

#include "memory.h"
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

// When a loop is split by units, not by batch: bytes of recurrent weights, measured with two cores of 1 MB second-level
// cache each.
constexpr int64_t LEAST_SHARE = 32 << 10, MANY_WEIGHTS = 512 << 10, FEW_ROWS = 4;

// Packs every group, then runs it, by as many threads as the work is worth; `weights` are a group's recurrent ones.
template <class Problem>
ffi::Error run(ffi::ThreadPool &pool, const Pass<Problem> &pass, Cell cell, const std::vector<Problem> &groups,
               int64_t weights) {
  if (groups.empty()) return ffi::Error::Success();
  const Shape &s = groups[0].shape;
  int64_t n = groups.size(), size = pass.packed_size(cell, groups[0]), panels = pass.panels(cell, groups[0]);
  Array<float> packed(static_cast<float *>(take_memory(4 * n * size)));

  // A thread is worth its call from about 20 microseconds of work.
  double products = double(n) * s.time * s.batch * s.hidden * (s.hidden + s.inputs);
  int64_t threads = products < 3e5 ? 1 : std::max<int64_t>(1, pool.num_threads());
  int64_t each = (threads + n - 1) / n, ranges = std::min(panels, each);
  share(pool, n * panels * (s.inputs + s.hidden) < 20000 ? 0 : threads - 1, n * ranges, [&](int64_t i) {
    int64_t group = i / ranges, k = i % ranges;
    pass.pack(cell, groups[group], packed.get() + group * size, panels * k / ranges, panels * (k + 1) / ranges);
  });
  // Shares of the units read each weight into one core's caches alone: worth the waiting at every step where rows are
  // few or weights many. Shares of the batch never wait for another step.
  int64_t of_units = std::min({each, pass.blocks(cell, groups[0]), weights / LEAST_SHARE});
  bool by_units = of_units > 1 && (s.batch <= FEW_ROWS || weights >= MANY_WEIGHTS);
  int64_t shares = by_units ? of_units : std::min(each, std::max<int64_t>(1, s.batch / 2));
  share(pool, std::min(threads, n) - 1, n, [&](int64_t i) {
    pass.run(cell, groups[i], packed.get() + i * size, March<ffi::ThreadPool>(pool, shares, by_units));
  });
  return ffi::Error::Success();
}

// XLA's memory for results is fresh at every call.
void fresh(std::initializer_list<Out *> results) {
  for (Out *a : results) use_large_pages((*a)->untyped_data(), 4 * (*a)->element_count());
}

int64_t bytes_of_one(const Floats &w) { return 4 * w.element_count() / std::max<int64_t>(1, w.dimensions()[0]); }

ffi::Error forward(ffi::ThreadPool pool, int32_t cell, bool reverse, Floats x, Floats w_x, Floats w_h, Floats b,
                   Floats b_hn, Floats h0, Floats c0, Floats h1, Floats c1, Bools valid, Bools resets, Out y,
                   Out h_last, Out c_last, Out kept) {
  auto d = y->dimensions();
  Shape shape{d[1], d[2], x.dimensions()[3], d[3], reverse};
  std::vector<Forward> groups;
  for (int64_t g = 0; g < d[0]; ++g)
    groups.push_back(Forward{shape, part(x, g), part(w_x, g), part(w_h, g), part(b, g), part(b_hn, g), part(h0, g),
                             part(c0, g), part(h1, g), part(c1, g), part(valid, g), part(resets, g), part(y, g),
                             part(h_last, g), part(c_last, g), part(kept, g)});
  fresh({&y, &kept});
  return run(pool, best_kernels().forward, static_cast<Cell>(cell), groups, bytes_of_one(w_h));
}

ffi::Error backward(ffi::ThreadPool pool, int32_t cell, bool reverse, Floats x, Floats w_x, Floats w_h, Floats h0,
                    Floats h1, Floats kept, Floats y, Bools valid, Bools resets, Floats d_y, Floats d_h_last,
                    Floats d_c_last, Out d_x, Out d_w_x, Out d_w_h, Out d_b, Out d_b_hn, Out d_h0, Out d_c0, Out d_h1,
                    Out d_c1) {
  auto d = y.dimensions();
  Shape shape{d[1], d[2], x.dimensions()[3], d[3], reverse};
  std::vector<Backward> groups;
  for (int64_t g = 0; g < d_h0->dimensions()[0]; ++g)
    groups.push_back(Backward{shape, part(x, g), part(w_x, g), part(w_h, g), part(h0, g), part(h1, g), part(kept, g),
                              part(y, g), part(valid, g), part(resets, g), part(d_y, g), part(d_h_last, g),
                              part(d_c_last, g), part(d_x, g), part(d_w_x, g), part(d_w_h, g), part(d_b, g),
                              part(d_b_hn, g), part(d_h0, g), part(d_c0, g), part(d_h1, g), part(d_c1, g)});
  fresh({&d_x, &d_w_x, &d_w_h});
  return run(pool, best_kernels().backward, static_cast<Cell>(cell), groups, bytes_of_one(w_h));
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
);

XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_jax_backward, backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<int32_t>("cell")
                                  .Attr<bool>("reverse")
                                  .Arg<Floats>() // x [groups, time, batch, inputs]
                                  .Arg<Floats>() // w_x [groups, inputs, gates * hidden]
                                  .Arg<Floats>() // w_h [groups, hidden, gates * hidden]
                                  .Arg<Floats>() // h0 [groups, batch, hidden]
                                  .Arg<Floats>() // h1
                                  .Arg<Floats>() // kept [groups, time, batch, kept * hidden]
                                  .Arg<Floats>() // y [groups, time, batch, hidden]
                                  .Arg<Bools>()  // valid [groups, time, batch]
                                  .Arg<Bools>()  // resets
                                  .Arg<Floats>() // d_y [groups, time, batch, hidden]
                                  .Arg<Floats>() // d_h_last [groups, batch, hidden]
                                  .Arg<Floats>() // d_c_last
                                  .Ret<Floats>() // d_x [groups, time, batch, inputs]
                                  .Ret<Floats>() // d_w_x [groups, inputs, gates * hidden]
                                  .Ret<Floats>() // d_w_h [groups, hidden, gates * hidden]
                                  .Ret<Floats>() // d_b [groups, gates * hidden]
                                  .Ret<Floats>() // d_b_hn [groups, hidden]
                                  .Ret<Floats>() // d_h0 [groups, batch, hidden]
                                  .Ret<Floats>() // d_c0
                                  .Ret<Floats>() // d_h1
                                  .Ret<Floats>() // d_c1
);

extern "C" const char *lstm_jax_instructions() { return best_kernels().name; }
