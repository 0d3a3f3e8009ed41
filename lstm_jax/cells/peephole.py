"""The LSTM with peepholes, and the variants that take one of its parts away."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks, inits
from lstm_jax.cells.dense import ACTIVATIONS, SQUASHING, dot, like, split_gates
from lstm_jax.cells.lstm import LSTM, LSTMCarry, LSTMParams, MemoryCell
from lstm_jax.types import Array, Cell

OPEN = 40.0
"""A bias with which a gate is 1 in every dtype: sigmoid(40) = 1 - 4e-18."""


class PeepholeParams(NamedTuple):
    """`w_x [input, gates * hidden]`, `w_h [hidden, gates * hidden]`, `b [gates * hidden]` or None; gates i, f, g, o.

    `p [gates * hidden]` or None: the peepholes of i, f, o. Gates that the cell has not are missing everywhere.
    """

    w_x: Array
    w_h: Array
    b: Array | None
    p: Array | None = None


@dataclasses.dataclass(frozen=True)
class PeepholeLSTM(MemoryCell):
    """An LSTM whose gates see the memory; its carry is `LSTMCarry(h, c)`.

        i = sigmoid(W_xi x + W_hi h + p_i c + b_i)
        f = sigmoid(W_xf x + W_hf h + p_f c + b_f)
        g = phi(W_xg x + W_hg h + b_g)
        c' = f c + i g
        o = sigmoid(W_xo x + W_ho h + p_o c' + b_o)
        h' = o psi(c'),    y = h'

    The peepholes p are vectors, one weight a unit, and start at zero. What Greff et al. took away, one at a time:

        NIG, NFG, NOG    `open_gates=("i",)`, `("f",)` or `("o",)`: that gate is 1 (NFG forgets nothing, as in 1997)
        NIAF, NOAF       `input_activation="identity"`, `output_activation="identity"`: phi or psi is left out
        CIFG             `coupled=True`: i = 1 - f
        NP               `peepholes=False`: p = 0, and o depends on nothing of its own step

    `FullGateLSTM` is their FGR. Without peepholes, and with both tanh, the cell is an LSTM of other weights and runs in
    its kernels.

    References: Gers and Schmidhuber 2000, https://doi.org/10.1109/IJCNN.2000.861302; Graves 2013,
    https://arxiv.org/abs/1308.0850; Greff et al. 2015, https://arxiv.org/abs/1503.04069
    """

    peepholes: bool = True
    open_gates: tuple[str, ...] = ()
    coupled: bool = False
    input_activation: str = "tanh"
    output_activation: str = "tanh"
    p_init: inits.BiasInit = inits.ZeroBias()

    params_type: ClassVar[type] = PeepholeParams

    def __post_init__(self):
        super().__post_init__()
        checks.boolean("peepholes", self.peepholes)
        checks.boolean("coupled", self.coupled)
        if not isinstance(self.open_gates, tuple) or not set(self.open_gates) <= set("ifo"):
            raise checks.fail("open_gates", "a tuple of some of 'i', 'f', 'o'", repr(self.open_gates))
        if self.coupled and set(self.open_gates) & set("if"):
            raise checks.fail("open_gates", "neither 'i' nor 'f' where they are coupled", repr(self.open_gates))
        checks.one_of("input_activation", self.input_activation, SQUASHING)
        checks.one_of("output_activation", self.output_activation, SQUASHING)

    @property
    def gates(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride] -- by options
        absent = {*self.open_gates, *("i" if self.coupled else "")}
        return tuple(gate for gate in "ifgo" if gate not in absent)

    @property
    def peeping(self) -> tuple[str, ...]:
        """The gates that see the memory."""
        return tuple(gate for gate in self.gates if gate != "g")

    def init(self, key: Array, dtype: Any = jnp.float32) -> Any:
        """Returns fresh parameters in `dtype`; each gate's matrix is drawn on its own."""
        params = super().init(key, dtype)
        if not (self.peepholes and self.peeping):
            return params
        return params._replace(p=self.p_init(jax.random.fold_in(key, 3), self.peeping, self.hidden_size, dtype))

    def recurrent(self, params: Any, carry: Any) -> Array:
        """Returns W_h h, `[*batch, gates * hidden_size]`."""
        return dot(carry.h, params.w_h)

    def preactivate(self, params: Any, carry: Any, z: Array) -> tuple[dict[str, Array], Array | None]:
        """Returns the gates' pre-activations by name, and the peephole of o, which waits for c'."""
        a = dict(zip(self.gates, split_gates(z + self.recurrent(params, carry), len(self.gates)), strict=True))
        if params.p is None:
            return a, None
        p = dict(zip(self.peeping, split_gates(params.p.astype(z.dtype), len(self.peeping)), strict=True))
        c = carry.c.astype(z.dtype)
        a |= {gate: a[gate] + p[gate] * c for gate in p if gate != "o"}
        return a, jnp.broadcast_to(p["o"], c.shape) if "o" in p else None

    def update(self, carry: Any, a: Any) -> tuple[Any, Array]:
        h, c, _ = self.gated(carry.c, *a)
        return like(carry, LSTMCarry(h, c)), h

    def gated(self, c: Array, a: dict[str, Array], p_o: Array | None) -> tuple[Array, Array, dict[str, Any]]:
        """Returns h', c' and the gates i, f, o."""
        gates = {name: jax.nn.sigmoid(a[name]) if name in a else 1.0 for name in "if"}
        if self.coupled:
            gates["i"] = 1 - gates["f"]
        c = gates["f"] * c.astype(a["g"].dtype) + gates["i"] * ACTIVATIONS[self.input_activation](a["g"])
        gates["o"] = jax.nn.sigmoid(a["o"] if p_o is None else a["o"] + p_o * c) if "o" in a else 1.0
        return gates["o"] * ACTIVATIONS[self.output_activation](c), c, gates

    @property
    def runs_as(self) -> Cell:
        """The LSTM that this cell is with other weights, where it is one."""
        tanh = self.input_activation == self.output_activation == "tanh"
        plain = type(self) is PeepholeLSTM and tanh and not self.peepholes
        return LSTM(self.input_size, self.hidden_size) if plain else self

    def recast(self, params: PeepholeParams) -> LSTMParams:
        """Returns the LSTM's weights: an open gate has a bias that opens it, 1 - sigmoid(a) is sigmoid(-a)."""

        def gates(x: Array, bias: float) -> Array:
            own = dict(zip(self.gates, split_gates(x, len(self.gates)), strict=True))
            if self.coupled:
                own["i"] = -own["f"]
            return jnp.concatenate([own.get(g, jnp.full_like(own["g"], bias)) for g in "ifgo"], axis=-1)

        b = params.b
        if b is None and self.open_gates:
            b = jnp.zeros(params.w_x.shape[-1], params.w_x.dtype)
        return LSTMParams(gates(params.w_x, 0.0), gates(params.w_h, 0.0), None if b is None else gates(b, OPEN))
