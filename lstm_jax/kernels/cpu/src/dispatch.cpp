// Which build of the loops this machine runs: the best, or a lesser one that LSTM_JAX_CPU_INSTRUCTIONS names.
#include <cstdlib>
#include <cstring>

#include "problem.h"

#if defined(__x86_64__)
namespace baseline { extern const Kernels kernels; }
namespace avx2 { extern const Kernels kernels; }
namespace avx512 { extern const Kernels kernels; }

static const Kernels &choose() {
  const char *name = std::getenv("LSTM_JAX_CPU_INSTRUCTIONS");
  auto wanted = [&](const Kernels &kernels) { return !name || !std::strcmp(name, kernels.name); };
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && wanted(avx512::kernels))
    return avx512::kernels;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && wanted(avx2::kernels)) return avx2::kernels;
  return baseline::kernels;
}

const Kernels &best_kernels() {
  static const Kernels &best = choose();
  return best;
}
#elif defined(__aarch64__)
namespace neon { extern const Kernels kernels; }
const Kernels &best_kernels() { return neon::kernels; }
#else
namespace baseline { extern const Kernels kernels; }
const Kernels &best_kernels() { return baseline::kernels; }
#endif
