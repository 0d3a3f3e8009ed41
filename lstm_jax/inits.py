"""Initialisers: frozen dataclasses, so that a cell that holds them stays hashable and equal by value.

A weight initialiser is called once per gate, `init(key, (fan_in, hidden_size), dtype)`: a gate is a matrix of its own.
A bias initialiser is called once with the names of the gates, `init(key, gates, hidden_size, dtype)`, and returns
`[len(gates) * hidden_size]`, since some draw two gates together.
"""

import dataclasses
import functools
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap

from lstm_jax import checks
from lstm_jax.types import Array, wide


class WeightInit(Protocol):
    def __call__(self, key: Array, shape: tuple[int, int], dtype: Any) -> Array: ...


class BiasInit(Protocol):
    def __call__(self, key: Array, gates: tuple[str, ...], hidden_size: int, dtype: Any) -> Array: ...


@dataclasses.dataclass(frozen=True)
class Orthogonal:
    """A random matrix with orthonormal rows or columns, times `scale`: keeps the norm of what passes through it.

    References: Saxe, McClelland, Ganguli 2014, https://arxiv.org/abs/1312.6120
    """

    scale: float = 1.0

    def __post_init__(self):
        checks.finite("scale", self.scale)

    def __call__(self, key: Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> Array:
        return _orthogonal(key, self.scale, tuple(shape), wide(dtype)).astype(dtype)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _orthogonal(key: Array, scale: float, shape: tuple[int, int], dtype: Any) -> Array:
    """One matrix at a time: on a CPU a batch of decompositions waits for the threads that it runs in, and two batches
    at once, of two layers say, wait for each other for ever (jaxlib 0.10).
    """
    return sequential_vmap(lambda key: jax.nn.initializers.orthogonal(scale)(key, shape, dtype))(key)


@dataclasses.dataclass(frozen=True)
class Glorot:
    """Uniform in +-sqrt(6 / (fan_in + fan_out)), the fans those of one gate.

    References: Glorot and Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html
    """

    def __call__(self, key: Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> Array:
        return jax.nn.initializers.glorot_uniform()(key, shape, dtype)


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Uniform in +-1/sqrt(hidden_size), as PyTorch starts all its recurrent weights; `UniformBias` for the biases."""

    def __call__(self, key: Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> Array:
        return _uniform(key, shape, shape[-1], dtype)


@dataclasses.dataclass(frozen=True)
class Identity:
    """The identity times `scale`, for a recurrent matrix; with ReLU it is the IRNN's start.

    References: Le, Jaitly, Hinton 2015, https://arxiv.org/abs/1504.00941
    """

    scale: float = 1.0

    def __post_init__(self):
        checks.finite("scale", self.scale)

    def __call__(self, key: Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> Array:
        return jnp.eye(*shape, dtype=dtype) * jnp.asarray(self.scale, dtype)


@dataclasses.dataclass(frozen=True)
class ZeroBias:
    """All zeros."""

    def __call__(self, key: Array, gates: tuple[str, ...], hidden_size: int, dtype: Any = jnp.float32) -> Array:
        return jnp.zeros(len(gates) * hidden_size, dtype)


@dataclasses.dataclass(frozen=True)
class UniformBias:
    """Uniform in +-1/sqrt(hidden_size), PyTorch's."""

    def __call__(self, key: Array, gates: tuple[str, ...], hidden_size: int, dtype: Any = jnp.float32) -> Array:
        return _uniform(key, (len(gates) * hidden_size,), hidden_size, dtype)


@dataclasses.dataclass(frozen=True)
class Between:
    """Uniform in [low, high), for a bias or another vector of every unit."""

    low: float
    high: float

    def __post_init__(self):
        checks.finite("low", self.low)
        checks.finite("high", self.high)
        if not self.low < self.high:
            raise checks.fail("high", f"a number > low={self.low}", repr(self.high))

    def __call__(self, key: Array, gates: tuple[str, ...], hidden_size: int, dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, (len(gates) * hidden_size,), dtype, self.low, self.high)


@dataclasses.dataclass(frozen=True)
class KeepBias:
    """`value` on the gate that keeps the past, zero elsewhere: the unit forget bias at its default of 1.

    The keeping gate is `f` of an LSTM and `z` of a GRU (which keeps with z and writes with 1 - z); a gate called `w`
    writes instead of it, and gets `-value`.

    References: Gers, Schmidhuber, Cummins 2000; Jozefowicz, Zaremba, Sutskever 2015,
    https://proceedings.mlr.press/v37/jozefowicz15.html
    """

    value: float = 1.0

    def __post_init__(self):
        checks.finite("value", self.value)

    def __call__(self, key: Array, gates: tuple[str, ...], hidden_size: int, dtype: Any = jnp.float32) -> Array:
        return jnp.concatenate([jnp.full(hidden_size, self.value * _KEEP.get(gate, 0.0), dtype) for gate in gates])


@dataclasses.dataclass(frozen=True)
class Chrono:
    """Draws each unit's memory span: b_keep = log U(1, t_max - 1), and for an LSTM b_i = -b_f.

    A gate with bias b keeps for about 1 + exp(b) steps, so the units' spans spread evenly from 2 to `t_max` steps.
    A GRU has one gate for both duties; its keep gate z gets the same draw.

    References: Tallec and Ollivier 2018, https://arxiv.org/abs/1804.11188
    """

    t_max: float

    def __post_init__(self):
        checks.finite("t_max", self.t_max)
        if not self.t_max > 2:
            raise checks.fail("t_max", "a number > 2, in steps", repr(self.t_max))

    def __call__(self, key: Array, gates: tuple[str, ...], hidden_size: int, dtype: Any = jnp.float32) -> Array:
        span = jnp.log(jax.random.uniform(key, (hidden_size,), wide(dtype), 1.0, self.t_max - 1.0))
        signs = [-1.0 if gate == "i" else _KEEP.get(gate, 0.0) for gate in gates]
        return jnp.concatenate([span * sign for sign in signs]).astype(dtype)


_KEEP = {"f": 1.0, "z": 1.0, "w": -1.0}
"""The gates that keep, or write in place of it."""


def _uniform(key: Array, shape: tuple[int, ...], hidden_size: int, dtype: Any) -> Array:
    bound = hidden_size**-0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)
