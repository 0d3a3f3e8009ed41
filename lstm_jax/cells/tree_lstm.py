"""Tree-LSTMs: a node reads its own input and all of its children at once. `forests.run` takes them over whole trees."""

import dataclasses
from dataclasses import KW_ONLY
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks, inits
from lstm_jax.cells.call import check_params
from lstm_jax.cells.dense import biased, dot, matrix, split_gates
from lstm_jax.cells.lstm import LSTMCarry
from lstm_jax.types import Array


class TreeLSTMParams(NamedTuple):
    """`w_x [input, 4 * hidden]`, `w_h`, `b [4 * hidden]` or None; gates in order i, f, u, o.

    `w_h` is `[hidden, 4 * hidden]` in a child-sum cell. In an N-ary one it is `[arity * hidden, (3 + arity) * hidden]`:
    rows child by child, columns i, one f for every child, u, o. With one child both are an LSTM's.
    """

    w_x: Array
    w_h: Array
    b: Array | None


@dataclasses.dataclass(frozen=True)
class TreeLSTM:
    """The part of a Tree-LSTM that does not depend on how it joins its children. Not a cell of its own.

    A subclass gives `join`, and `places` where its children have places of their own.
    """

    input_size: int
    hidden_size: int
    _: KW_ONLY
    use_bias: bool = True
    w_x_init: inits.WeightInit = inits.Glorot()
    w_h_init: inits.WeightInit = inits.Orthogonal()
    b_init: inits.BiasInit = inits.KeepBias()

    gates: ClassVar[tuple[str, ...]] = ("i", "f", "u", "o")

    def __post_init__(self):
        checks.positive_int("input_size", self.input_size)
        checks.positive_int("hidden_size", self.hidden_size)
        checks.boolean("use_bias", self.use_bias)
        checks.initialisers(self)

    @property
    def places(self) -> int | None:
        """The number of children that `join` takes, None for any."""
        return None

    def init(self, key: Array, dtype: Any = jnp.float32) -> TreeLSTMParams:
        """Returns fresh parameters in `dtype`; the matrix of each gate, and of each child, is drawn on its own."""
        checks.drawing(key, dtype)
        key_x, key_h, key_b = jax.random.split(key, 3)
        places, size = self.places or 1, self.hidden_size
        children = [
            matrix(self.w_h_init, key, size, 3 + places, size, dtype) for key in jax.random.split(key_h, places)
        ]
        return TreeLSTMParams(
            matrix(self.w_x_init, key_x, self.input_size, len(self.gates), size, dtype),
            jnp.concatenate(children),
            self.b_init(key_b, self.gates, size, dtype) if self.use_bias else None,
        )

    def from_input(self, params: TreeLSTMParams, x: Array) -> Array:
        """Returns W x + b, `[*batch, 4 * hidden_size]`, in float32 or better: all that needs no child."""
        return biased(dot(x, params.w_x), params.b)

    def join(self, params: TreeLSTMParams, z: Array, h: Array, c: Array, present: Array) -> LSTMCarry:
        """Returns what `node` does, from `from_input` of the inputs and in its dtype; checks nothing."""
        raise NotImplementedError

    def node(self, params: TreeLSTMParams, x: Array, h: Array, c: Array, present: Array) -> LSTMCarry:
        """Returns the nodes' h and c, `[*batch, hidden_size]` in the parameters' dtype.

        Args:
          params: the cell's parameters, in the dtype of `x`.
          x: the nodes' own inputs, `[*batch, input_size]`; zeros for a node without one.
          h: their children's outputs, `[*batch, arity, hidden_size]`.
          c: their children's memories, `[*batch, arity, hidden_size]`.
          present: bool `[*batch, arity]`; an absent child counts as zero and is never read, not even NaN.

        Raises:
          ValueError: shapes or dtypes do not fit each other.
        """
        checks.array("x", x)
        if x.shape[-1:] != (self.input_size,):
            raise checks.fail("x", f"shape [*batch, {self.input_size}]", checks.describe(x))
        check_params(self, params, "x", x.dtype)
        checks.array("present", present)
        shape = (*x.shape[:-1], self.places or (present.shape or (1,))[-1])
        checks.same_tree("present", present, jax.ShapeDtypeStruct(shape, bool), dtypes=True)
        for name, value in (("h", h), ("c", c)):
            checks.same_tree(name, value, jax.ShapeDtypeStruct((*shape, self.hidden_size), x.dtype))
            checks.float_dtype(name, value.dtype)
        carry = self.join(params, self.from_input(params, x), h, c, present)
        return jax.tree.map(lambda v: v.astype(x.dtype), carry)


@dataclasses.dataclass(frozen=True)
class ChildSumTreeLSTM(TreeLSTM):
    """A Tree-LSTM for any number of children in no order, as in dependency trees. C(j) are the children of node j.

        h~_j = sum_{k in C(j)} h_k
        i_j, o_j = sigmoid(W x_j + U h~_j + b),    u_j = tanh(W x_j + U h~_j + b)
        f_jk = sigmoid(W x_j + U h_k + b)                                              for each child k
        c_j = i_j u_j + sum_{k in C(j)} f_jk c_k
        h_j = o_j tanh(c_j)

    A node with one child is an LSTM's step, with the parameters that `LSTM` has. The forget gate's bias starts at 1.

    References: Tai, Socher, Manning 2015, https://arxiv.org/abs/1503.00075, equations 2 to 8
    """

    def join(self, params: TreeLSTMParams, z: Array, h: Array, c: Array, present: Array) -> LSTMCarry:
        h, c = _children(h, c, present, z.dtype)
        u_i, u_f, u_u, u_o = split_gates(params.w_h, 4)
        z_i, z_f, z_u, z_o = split_gates(z, 4)
        i, u, o = split_gates(dot(h.sum(-2), jnp.concatenate([u_i, u_u, u_o], axis=1)), 3)
        f = z_f[..., None, :] + dot(h, u_f)
        return _node(z_i + i, f, z_u + u, z_o + o, c)


@dataclasses.dataclass(frozen=True)
class NaryTreeLSTM(TreeLSTM):
    """A Tree-LSTM for at most `arity` children in order, as in constituency trees. Child l of node j is jl.

        i_j, o_j = sigmoid(W x_j + sum_l U_l h_jl + b),    u_j = tanh(W x_j + sum_l U_l h_jl + b)
        f_jk = sigmoid(W x_j + sum_l U_kl h_jl + b)                                    for each child k
        c_j = i_j u_j + sum_l f_jl c_jl
        h_j = o_j tanh(c_j)

    U_kl lets child l decide what is kept of child k; W and b of the forget gates are shared by the children. The forget
    gates' bias starts at 1.

    References: Tai, Socher, Manning 2015, https://arxiv.org/abs/1503.00075, equations 9 to 14
    """

    arity: int = 2

    def __post_init__(self):
        super().__post_init__()
        checks.positive_int("arity", self.arity)

    @property
    def places(self) -> int:
        return self.arity

    def join(self, params: TreeLSTMParams, z: Array, h: Array, c: Array, present: Array) -> LSTMCarry:
        h, c = _children(h, c, present, z.dtype)
        z_i, z_f, z_u, z_o = split_gates(z, 4)
        i, *f, u, o = split_gates(dot(h.reshape(*h.shape[:-2], -1), params.w_h), 3 + self.arity)
        return _node(z_i + i, z_f[..., None, :] + jnp.stack(f, -2), z_u + u, z_o + o, c)


def _children(h: Array, c: Array, present: Array, dtype: Any) -> tuple[Array, Array]:
    """Zero in place of absent children."""
    zero = jnp.zeros((), dtype)
    return (
        jnp.where(present[..., None], h.astype(dtype), zero),
        jnp.where(present[..., None], c.astype(dtype), zero),
    )


def _node(i: Array, f: Array, u: Array, o: Array, c: Array) -> LSTMCarry:
    """The equations of c and h, which both cells share; `f` and `c` are `[*batch, arity, hidden_size]`."""
    c = jax.nn.sigmoid(i) * jnp.tanh(u) + jnp.sum(jax.nn.sigmoid(f) * c, axis=-2)
    return LSTMCarry(jax.nn.sigmoid(o) * jnp.tanh(c), c)
