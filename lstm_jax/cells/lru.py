"""The linear recurrent unit: a complex diagonal recurrence, read out by a matrix."""

import dataclasses
import math
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax import checks, inits
from lstm_jax.cells.affine import Affine
from lstm_jax.cells.call import zeros
from lstm_jax.cells.dense import VectorCell, dot
from lstm_jax.types import Array, wide


class LRUParams(NamedTuple):
    """`w_x [input, 2 * hidden]` (Re B, Im B), `w_y [2 * hidden, output]` (Re C above Im C), `d [input, output]`.

    `nu`, `theta`, `gamma [hidden]`: logarithms of the decay, the phase and the scale of the inputs.
    """

    w_x: Array
    w_y: Array
    d: Array
    nu: Array
    theta: Array
    gamma: Array


class LRUCarry(NamedTuple):
    """The state's real and imaginary parts, each `[*batch, hidden_size]`."""

    re: Array
    im: Array


@dataclasses.dataclass(frozen=True)
class LRU(Affine, VectorCell):
    """A linear recurrent unit of `hidden_size` complex states; its carry is `LRUCarry(re, im)`.

        lambda = exp(-exp(nu) + i exp(theta))
        s' = lambda s + exp(gamma) B x
        y = Re(C s') + D x

    Eigenvalues start evenly in the ring r_min <= |lambda| <= r_max with phases in [0, max_phase], and gamma at
    sqrt(1 - |lambda|^2), so that states keep the size of the inputs. `output_size` is by default `input_size`. The
    nonlinear layer that the paper puts between units is not the cell's. Departure: D is a matrix, as in the paper's
    equation; its code has a vector.

    References: Orvieto et al. 2023, https://arxiv.org/abs/2303.06349
    """

    output_size: int | None = None  # pyright: ignore[reportIncompatibleMethodOverride] -- a field here
    r_min: float = 0.0
    r_max: float = 1.0
    max_phase: float = 2 * math.pi
    d_init: inits.WeightInit = inits.Glorot()

    params_type: ClassVar[type] = LRUParams
    output_first: ClassVar[bool] = False

    def __post_init__(self):
        super().__post_init__()
        if self.output_size is not None:
            checks.positive_int("output_size", self.output_size)
        for name in ("r_min", "r_max", "max_phase"):
            checks.finite(name, getattr(self, name))
        if not 0 <= self.r_min < self.r_max <= 1:
            raise checks.fail("r_max", f"a radius in ({self.r_min}, 1], r_min at least 0", repr(self.r_max))
        checks.positive("max_phase", self.max_phase)

    @property
    def output_shape(self) -> tuple[int]:
        return (self.input_size if self.output_size is None else self.output_size,)

    def init(self, key: Array, dtype: Any = jnp.float32) -> LRUParams:
        """Returns fresh parameters in `dtype`."""
        checks.drawing(key, dtype)
        key_b, key_c, key_d, key_r, key_phase = jax.random.split(key, 5)
        n, outer, (outputs,) = self.hidden_size, wide(dtype), self.output_shape
        tiny = jnp.finfo(outer).tiny

        def normal(key: Array, shape: tuple[int, int], fan: int) -> Array:
            return (jax.random.normal(key, shape, outer) * fan**-0.5).astype(dtype)

        squared = jax.random.uniform(key_r, (n,), outer, max(self.r_min**2, float(tiny)), self.r_max**2)
        squared = jnp.minimum(squared, 1 - jnp.finfo(outer).eps)  # a radius of 1 has no logarithm of its logarithm
        phase = jax.random.uniform(key_phase, (n,), outer, float(tiny), self.max_phase)
        return LRUParams(
            w_x=normal(key_b, (self.input_size, 2 * n), 2 * self.input_size),
            w_y=normal(key_c, (2 * n, outputs), n),
            d=self.d_init(key_d, (self.input_size, outputs), dtype),
            nu=jnp.log(-0.5 * jnp.log(squared)).astype(dtype),
            theta=jnp.log(phase).astype(dtype),
            gamma=(0.5 * jnp.log1p(-squared)).astype(dtype),
        )

    def initial_carry(self, params: Any, batch_shape: tuple[int, ...] = (), dtype: Any = None) -> LRUCarry:
        """Returns zeros in `dtype`, by default the parameters' own."""
        return LRUCarry(*(zeros(self, params, batch_shape, dtype, self.hidden_size) for _ in range(2)))

    def project(self, params: LRUParams, x: Array, *, key: Array | None = None) -> tuple[Array, Array]:
        """Returns B x, real part beside imaginary, and D x, in float32 or better."""
        return dot(x, params.w_x), dot(x, params.d)

    def coefficients(self, params: LRUParams, z: Any) -> tuple[Array, Array]:
        re, im = jnp.split(z[0], 2, axis=-1)
        nu, theta, gamma = (p.astype(re.dtype) for p in (params.nu, params.theta, params.gamma))
        decay, phase, scale = jnp.exp(-jnp.exp(nu)), jnp.exp(theta), jnp.exp(gamma)
        eigenvalue = lax.complex(decay * jnp.cos(phase), decay * jnp.sin(phase))
        return jnp.broadcast_to(eigenvalue, re.shape), lax.complex(scale * re, scale * im)

    def state(self, carry: LRUCarry) -> Array:
        re, im = (leaf.astype(wide(leaf.dtype)) for leaf in carry)
        return lax.complex(re, im)

    def carry(self, state: Array) -> LRUCarry:
        return LRUCarry(state.real, state.imag)

    def read(self, params: LRUParams, state: Array, z: Any) -> Array:
        re, im = params.w_y[: self.hidden_size], params.w_y[self.hidden_size :]
        return dot(state.real, re) - dot(state.imag, im) + z[1]
