// Both passes for every cell; compiled once for each instruction set.
#include "backward.h"
#include "forward.h"

namespace LJ_ISA {

template <class F> static auto with_cell(Cell cell, F &&f) {
  switch (cell) {
  case GRU: return f(Gru{});
  case GRU_BEFORE: return f(GruBefore{});
  case ELMAN_TANH: return f(Elman<ELMAN_TANH>{});
  case ELMAN_RELU: return f(Elman<ELMAN_RELU>{});
  case ELMAN_SIGMOID: return f(Elman<ELMAN_SIGMOID>{});
  default: return f(Lstm{});
  }
}

template <class C> ForwardPass<C> pass_of(const Forward &);
template <class C> BackwardPass<C> pass_of(const Backward &);

template <class Problem> constexpr Pass<Problem> pass = {
    [](Cell cell, const Problem &p) {
      return with_cell(cell, [&](auto c) { return decltype(pass_of<decltype(c)>(p))::packed_size(p); });
    },
    [](Cell cell, const Problem &p) {
      return with_cell(cell, [&](auto c) { return decltype(pass_of<decltype(c)>(p))::panels(p); });
    },
    [](Cell cell, const Problem &p) {
      return with_cell(cell, [&](auto c) { return decltype(pass_of<decltype(c)>(p))::blocks(p); });
    },
    [](Cell cell, const Problem &p, float *packed, int64_t panel0, int64_t panel1) {
      with_cell(cell, [&](auto c) { decltype(pass_of<decltype(c)>(p))::pack_panels(p, packed, panel0, panel1); });
    },
    [](Cell cell, const Problem &p, const float *packed, const Crew &crew) {
      with_cell(cell, [&](auto c) { decltype(pass_of<decltype(c)>(p))(p, packed, crew).run(crew); });
    },
};

#define LJ_STRING(x) #x
#define LJ_NAME(x) LJ_STRING(x)
extern const Kernels kernels;
const Kernels kernels = {LJ_NAME(LJ_ISA), pass<Forward>, pass<Backward>};

} // namespace LJ_ISA
