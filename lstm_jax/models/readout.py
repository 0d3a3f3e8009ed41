"""Readouts: from what a recurrent layer returns to what a task asks for."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks, inits
from lstm_jax.cells.call import params_like
from lstm_jax.cells.dense import dot
from lstm_jax.types import Array, Carry, Layer, Params

ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}


class DenseParams(NamedTuple):
    """`w [input, output]`, `b [output]`."""

    w: Array
    b: Array


@dataclasses.dataclass(frozen=True)
class MLP:
    """Dense layers of the given sizes, input first, with an activation between them; two sizes make it linear."""

    sizes: tuple[int, ...]
    activation: str = "relu"
    w_init: inits.WeightInit = inits.Glorot()

    def __post_init__(self):
        if not isinstance(self.sizes, tuple) or len(self.sizes) < 2:
            raise checks.fail("sizes", "a tuple of at least two sizes, input first", repr(self.sizes))
        for size in self.sizes:
            checks.positive_int("sizes", size)
        checks.one_of("activation", self.activation, tuple(ACTIVATIONS))
        if not callable(self.w_init):
            raise checks.fail("w_init", "an initialiser from lstm_jax.inits", repr(self.w_init))

    def init(self, key: Array, dtype: Any = jnp.float32) -> tuple[DenseParams, ...]:
        """Returns fresh parameters in `dtype`; biases start at zero."""
        checks.typed_key("key", key)
        checks.float_dtype("dtype", dtype)
        pairs = list(zip(self.sizes, self.sizes[1:], strict=False))
        return tuple(
            DenseParams(self.w_init(k, shape, dtype), jnp.zeros(shape[1], dtype))
            for k, shape in zip(jax.random.split(key, len(pairs)), pairs, strict=True)
        )

    def __call__(self, params: tuple[DenseParams, ...], x: Array) -> Array:
        """Maps `x [..., sizes[0]]` to `[..., sizes[-1]]`, in float32 or better."""
        checks.array("x", x)
        checks.float_dtype("x", x.dtype)
        if x.ndim < 1 or x.shape[-1] != self.sizes[0]:
            raise checks.fail("x", f"shape [..., {self.sizes[0]}]", checks.describe(x))
        checks.same_tree("params", params, params_like(self, x.dtype))
        for i, (w, b) in enumerate(params):
            if i > 0:
                x = ACTIVATIONS[self.activation](x)
            x = dot(x, w)
            x = x + b.astype(x.dtype)
        return x


def Linear(input_size: int, output_size: int) -> MLP:  # noqa: N802 -- reads as the type that it makes
    """One dense layer without activation."""
    return MLP((input_size, output_size))


class NetworkParams(NamedTuple):
    layer: Params
    readout: Params


@dataclasses.dataclass(frozen=True)
class Network:
    """A recurrent layer and a readout: one output a sequence (`at="last"`) or one a step (`at="every"`).

    `at="last"` reads each direction's output where that direction ends: the last valid step of a forward layer, the
    first step of a reversed one. With `shortcut` the readout of a step takes the step's input too, behind the layer's
    output: what follows from the input alone then need not pass through the recurrence.
    """

    layer: Layer
    readout: MLP
    at: str = "every"
    shortcut: bool = False

    def __post_init__(self):
        checks.layer("layer", self.layer)
        if not isinstance(self.readout, MLP):
            raise checks.fail("readout", "an MLP or Linear(input_size, output_size)", repr(self.readout))
        checks.one_of("at", self.at, ("last", "every"))
        checks.boolean("shortcut", self.shortcut)
        reads = self.layer.output_shape
        if self.shortcut:
            if self.at == "last" or len(self.layer.input_shape) != 1:
                found = f'at="{self.at}" and inputs of shape {self.layer.input_shape}'
                raise checks.fail("shortcut", 'at="every" and inputs that are vectors', found)
            reads = (*reads[:-1], reads[-1] + self.layer.input_shape[0])
        if reads != self.readout.sizes[:1]:
            raise checks.fail("readout", f"input size {reads}", str(self.readout.sizes[:1]))

    def init(self, key: Array, dtype: Any = jnp.float32) -> NetworkParams:
        """Returns fresh parameters in `dtype`."""
        checks.typed_key("key", key)
        layer, readout = jax.random.split(key)
        return NetworkParams(self.layer.init(layer, dtype), self.readout.init(readout, dtype))

    def __call__(
        self, params: NetworkParams, xs: Array, carry: Carry | None = None, *, lengths: Array | None = None, **options
    ) -> tuple[Carry, Array]:
        """Returns `(carry, outputs)`, outputs `[*batch, output]` or `[time, *batch, output]` in float32 or better.

        `options` go to the layer: resets, key, chunk, unroll, implementation.
        """
        if not isinstance(params, NetworkParams):
            raise checks.fail("params", "NetworkParams, as `init` returns them", checks.describe(params))
        carry, ys = self.layer(params.layer, xs, carry, lengths=lengths, **options)
        if self.shortcut:
            ys = jnp.concatenate([ys, xs.astype(ys.dtype)], axis=-1)
        return carry, self.readout(params.readout, self.layer.last(ys, lengths) if self.at == "last" else ys)
