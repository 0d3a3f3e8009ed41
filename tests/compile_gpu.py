"""Compiles the Mosaic GPU kernels for Hopper without a GPU: `python tests/compile_gpu.py`.

Wants, in an environment of its own, `pip install jax-cuda12-pjrt jax-cuda12-plugin nvidia-cuda-nvcc-cu12` of the
versions that `pip install "jax[cuda12]"` names, and gcc and nm: a small library stands in for the driver and says that
there is a device of compute capability 9.0. For every kernel ptxas says what registers it takes, and what it spills.
"""

import ctypes
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

DRIVER = """
int cuCtxGetDevice(int *device) { *device = 0; return 0; }
int cuDeviceGetAttribute(int *value, int which, int device) { *value = which == 75 ? 9 : 0; return 0; }
int cuModuleLoadData(void **module, const void *image) { *module = (void *)1; return 0; }
int cuModuleGetFunction(void **function, void *module, const char *name) { *function = (void *)1; return 0; }
int cuFuncSetAttribute(void *function, int which, int value) { return 0; }
int cuGetErrorName(int error, const char **name) { *name = "error"; return 0; }
int cuGetErrorString(int error, const char **text) { *text = "error"; return 0; }
"""
TARGET = "_ZN6mosaic3gpu33EnsureLLVMNVPTXTargetIsRegisteredEv"
"""What a client of a real device would have called before it compiles."""


def root(package):
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"{package} is not installed")
    return Path(spec.submodule_search_locations[0])


PLUGIN = root("jax_plugins.xla_cuda12") / "xla_cuda_plugin.so"
os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "MOSAIC_GPU_CUDA_ROOT": str(root("nvidia.cuda_nvcc")),
    "MOSAIC_GPU_DUMP_PTXAS": "1",
}

import jax  # noqa: E402 -- after the lines above
import jax.numpy as jnp  # noqa: E402
from jaxlib.mlir import ir  # noqa: E402

import lstm_jax as lj  # noqa: E402
from lstm_jax.kernels import mosaic_gpu  # noqa: E402

CELLS = (
    *(lj.LSTM(16, hidden) for hidden in (20, 64, 128, 200, 512, 768, 1024, 1664)),
    *(lj.GRU(16, hidden) for hidden in (20, 128, 512, 1024)),
    *(lj.Elman(16, 128, activation=activation) for activation in ("tanh", "relu", "sigmoid")),
    lj.Elman(16, 1024),
)


def compiler():
    """MosaicGpuCompile of the plugin, which returns None where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        driver = Path(folder) / "libcuda.so.1"
        command = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-Wl,-soname,libcuda.so.1", "-o", str(driver)]
        subprocess.run(command, input=DRIVER, text=True, check=True)
        ctypes.CDLL(str(driver), ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(root("jax_cuda12_plugin") / "libmosaic_gpu_runtime.so"), ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(PLUGIN))
    compile = library.MosaicGpuCompile
    compile.restype = ctypes.c_void_p
    lines = subprocess.run(["nm", str(PLUGIN)], capture_output=True, text=True, check=True).stdout.splitlines()
    places = {
        name.split("@")[0]: int(place, 16) for place, _, name in (line.split() for line in lines if line[0] != " ")
    }
    base = ctypes.cast(compile, ctypes.c_void_p).value - places["MosaicGpuCompile"]
    ctypes.CFUNCTYPE(None)(base + places[TARGET])()
    return compile


def kernels(cell, dtype, masks):
    """The modules of a call's kernels, forward and backward, with every option or none."""
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), dtype))
    carry = jax.eval_shape(lambda params: cell.initial_carry(params, (70,)), params)
    xs = jax.ShapeDtypeStruct((5, 70, cell.input_size), dtype)
    given = {}
    if masks:
        given = {
            "lengths": jax.ShapeDtypeStruct((70,), jnp.int32),
            "resets": jax.ShapeDtypeStruct((5, 70), jnp.bool_),
            "reset_carry": carry,
        }

    def loss(params, xs, carry, given):
        out = lj.scan(cell, params, xs, carry, implementation="mosaic_gpu", **given)
        return sum(jnp.sum(x.astype(jnp.float32)) for x in jax.tree.leaves(out))

    module = jax.jit(jax.grad(loss, (0, 1, 2))).trace(params, xs, carry, given).lower(lowering_platforms=("cuda",))
    found = []

    def look(op):
        if "call_target_name" in op.attributes and "mosaic_gpu" in str(op.attributes["call_target_name"]):
            config = ir.DictAttr(op.attributes["mhlo.backend_config"])
            found.append(ir.StringAttr(config["module"]).value_bytes)
        return ir.WalkResult.ADVANCE

    module.compiler_ir("stablehlo").operation.walk(look)
    return dict(zip(("forward", "backward"), found, strict=True))


def main():
    lj.kernels.platform = lambda: "gpu"
    compile, failed = compiler(), 0
    for cell in CELLS:
        for dtype in ("float32", "bfloat16"):
            what = f"{type(cell).__name__} {cell.hidden_size} {dtype}"
            if mosaic_gpu.limits(cell, dtype):
                print(f"{what}: refused", flush=True)
                continue
            for masks in (False, True):
                for kind, module in kernels(cell, jnp.dtype(dtype), masks).items():
                    print(f"{what} {kind}{' with masks' * masks}:", flush=True)
                    compiled = compile(module, len(module))
                    failed += not compiled
                    print("compiled" if compiled else "FAILED", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
