"""A network as files that run without this library: one step of a stream, and whole sequences.

    python -m experiments.export --directory results/export
    python results/export/run.py

The second program needs JAX and nothing else. Expected: it prints the same eight numbers as the first, and beside each
how far the stream is from the whole sequence, a rounding (1e-7). The weights are inside; the files run on CPU, GPU and
TPU, with any batch size. A loop of JAX has a fixed length, so that the network takes sequences of --time steps at most.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import tyro
from jax import export

import lstm_jax as lj
from lstm_jax.models import Linear, Network

PLATFORMS = ("cpu", "cuda", "tpu")

PROGRAM = '''"""Runs both artifacts: JAX is all that this imports."""

from pathlib import Path

import jax.numpy as jnp
from jax import export

here = Path(__file__).parent
step = export.deserialize(bytearray((here / "step.jax").read_bytes()))
network = export.deserialize(bytearray((here / "network.jax").read_bytes()))

xs = jnp.sin(jnp.arange(8.0)).reshape(8, 1, 1)  # [time, batch, input]
longest = network.in_avals[0].shape[0]
whole = network.call(jnp.zeros((longest, 1, 1)).at[:8].set(xs), jnp.array([8]))
carry = {name: {part: jnp.zeros((1, 32)) for part in ("h", "c")} for name in ("layers_0", "layers_1")}
for x, y in zip(xs, whole[:8]):
    carry, out = step.call(carry, x)
    print(f"{out[0, 0]:+.6f}  {abs(out - y).max():.0e}")
'''


@dataclasses.dataclass(frozen=True)
class Settings:
    time: int = 64  # the longest sequence
    directory: Path = Path("results/export")  # for step.jax, network.jax and run.py


def run(settings: Settings) -> jax.Array:
    """Writes the artifacts and the program; returns what the network says to a sine of eight steps, `[8]`."""
    layer = lj.Stack((lj.Recurrent(lj.LSTM(1, 32)), lj.Recurrent(lj.LSTM(32, 32))))
    network = Network(layer, Linear(32, 1))
    params = network.init(jax.random.key(0))  # in earnest: what training ended with
    like = jax.eval_shape(lambda: layer.initial_carry(params.layer))

    # Dicts, arrays and numbers at the door: an artifact that took our named tuples would need this library to be read.
    def step(carry, x):
        carry, y = layer.step(params.layer, lj.tree.from_dict(like, carry), x)
        return lj.tree.to_dict(carry), network.readout(params.readout, y)

    def whole(xs, lengths):
        return network(params, xs, lengths=lengths, implementation="xla")[1]

    (batch,) = export.symbolic_shape("batch")
    x = jax.ShapeDtypeStruct((batch, 1), jnp.float32)
    carry = jax.tree.map(lambda c: jax.ShapeDtypeStruct((batch, *c.shape), c.dtype), lj.tree.to_dict(like))
    xs, lengths = (
        jax.ShapeDtypeStruct((settings.time, batch, 1), jnp.float32),
        jax.ShapeDtypeStruct((batch,), jnp.int32),
    )
    settings.directory.mkdir(parents=True, exist_ok=True)
    for name, function, arguments in (("step", step, (carry, x)), ("network", whole, (xs, lengths))):
        artifact = export.export(jax.jit(function), platforms=PLATFORMS)(*arguments).serialize()
        (settings.directory / f"{name}.jax").write_bytes(artifact)
    (settings.directory / "run.py").write_text(PROGRAM)
    return network(params, jnp.sin(jnp.arange(8.0)).reshape(8, 1, 1))[1][:, 0, 0]


if __name__ == "__main__":
    settings = tyro.cli(Settings)
    print("\n".join(f"{y:+.6f}" for y in run(settings)))
    print(f"now: python {settings.directory / 'run.py'}")
