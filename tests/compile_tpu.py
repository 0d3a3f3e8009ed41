"""Compiles the TPU kernels with the compiler of TPUs, which needs none: `python tests/compile_tpu.py v5e:2x2`.

Wants `pip install libtpu` of the version that `pip install "jax[tpu]"` names, in an environment of its own: jax looks
for a TPU wherever that is installed. Says for every shape how long it took, or what the compiler found wrong.
"""

import sys
import time

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

import lstm_jax as lj

CELLS = (
    lj.LSTM(16, 128),
    lj.GRU(16, 128),
    lj.Elman(16, 128),
    lj.LSTM(5, 100),
    lj.GRU(16, 96),
    lj.LSTM(64, 512),
    lj.LSTM(64, 1024),
)


def programs(cell, dtype, device):
    """Forward and gradients of a call with every option, with arguments that are shapes alone."""

    def placed(tree):
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), tree)

    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), dtype))
    carry = jax.eval_shape(lambda params: cell.initial_carry(params, (200,)), params)
    xs = jax.ShapeDtypeStruct((37, 200, cell.input_size), dtype)
    arguments = placed((params, xs, carry, carry))
    lengths, resets = placed((jax.ShapeDtypeStruct((200,), jnp.int32), jax.ShapeDtypeStruct((37, 200), jnp.bool_)))

    def loss(arguments, lengths, resets):
        params, xs, carry, first = arguments
        options = {"lengths": lengths, "resets": resets, "reset_carry": first, "implementation": "tpu"}
        out = lj.scan(cell, params, xs, carry, **options)
        return sum(jnp.sum(x.astype(jnp.float32)) for x in jax.tree.leaves(out))

    for name, fn in (("forward", loss), ("gradients", jax.grad(loss))):
        yield name, jax.jit(fn).lower(arguments, lengths, resets)


def main(name):
    topology = topologies.get_topology_desc(platform="tpu", topology_name=name)
    lj.kernels.platform = lambda: "tpu"
    failed = 0
    for cell in CELLS:
        for dtype in (jnp.float32, jnp.bfloat16):
            for kind, program in programs(cell, dtype, SingleDeviceSharding(topology.devices[0])):
                began, found = time.perf_counter(), "compiled"
                try:
                    program.compile()
                except jax.errors.JaxRuntimeError as error:
                    failed, found = failed + 1, str(error).splitlines()[0]
                what = f"{type(cell).__name__} {cell.hidden_size} {jnp.dtype(dtype).name} {kind}"
                print(f"{what}: {found}, {time.perf_counter() - began:.1f} s", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
