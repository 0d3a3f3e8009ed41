#!/usr/bin/env bash
# Builds the compiled kernels with sanitizers, aside, and runs their tests: `bash tests/sanitize.sh address,undefined`,
# or `thread`. JAX itself is not instrumented, so that leaks are not looked for and only what the kernels do is seen.
set -euo pipefail
kind=${1:?address,undefined or thread}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake -S "$root" -B "$work/build" -DLSTM_JAX_SANITIZE="$kind" -DPython_EXECUTABLE="$(command -v python)" >/dev/null
cmake --build "$work/build" --parallel 2 >/dev/null
case $kind in
  thread*) runtime=libtsan.so ;;
  *) runtime=libasan.so ;;
esac
cp "$work/build/liblstm_jax_cpu.so" "$work/"
cat >"$work/suppressions" <<'S'
called_from_lib:libjax_common.so
called_from_lib:_jax.so
race:libjax_common.so
mutex:libjax_common.so
S
cd "$root"
LSTM_JAX_CPU_LIBRARY="$work/liblstm_jax_cpu.so" \
LD_PRELOAD="$(${CXX:-g++} -print-file-name=$runtime) $(${CXX:-g++} -print-file-name=libstdc++.so.6)" \
ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0 \
UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
TSAN_OPTIONS="suppressions=$work/suppressions:ignore_noninstrumented_modules=1:exitcode=66" \
  python -m pytest -q -n0 -p no:cacheprovider tests/test_cpu_kernels.py
