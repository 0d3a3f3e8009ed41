// Which build of the loops this machine runs.
#include "problem.h"

#if defined(__x86_64__)
namespace baseline { extern const Kernels kernels; }
namespace avx2 { extern const Kernels kernels; }
namespace avx512 { extern const Kernels kernels; }

const Kernels &best_kernels() {
  static const Kernels &best = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                                       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")
                                   ? avx512::kernels
                               : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? avx2::kernels
                                                                                               : baseline::kernels;
  return best;
}
#elif defined(__aarch64__)
namespace neon { extern const Kernels kernels; }
const Kernels &best_kernels() { return neon::kernels; }
#else
namespace baseline { extern const Kernels kernels; }
const Kernels &best_kernels() { return baseline::kernels; }
#endif
