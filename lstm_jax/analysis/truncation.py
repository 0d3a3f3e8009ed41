"""Truncated gradients: errors cut off in time, or, as in 1997, at the net inputs of gates and memory cells."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lstm_jax import checks
from lstm_jax.cells import PeepholeLSTM
from lstm_jax.cells.wrapped import Wrapped
from lstm_jax.scan import scan
from lstm_jax.types import Array, Carry, Cell, Params, wide


def truncated_scan(
    cell: Cell, params: Params, xs: Array, carry: Carry | None = None, *, window: int, every: int | None = None
) -> tuple[Carry, Array]:
    """Runs a cell over a sequence as `scan` does, but with the gradient of truncated backpropagation through time.

    After every `every` steps the errors of these steps go back through the last `window` steps, and no further; what
    the network did before is a constant to them. `every=1` sends each error back through exactly `window` steps;
    `every=window`, the default, cuts the sequence into pieces, as training on a stream does. A window as long as the
    sequence gives the full gradient.

    The pieces are run a second time, all at once, from the carries of a first pass: memory and time grow with
    window / every.

    Args:
      cell: any cell.
      params: the cell's parameters, in the dtype of `xs`.
      xs: inputs, `[time, *batch, *input_shape]`.
      carry: where the sequence starts, by default `cell.initial_carry`.
      window: the most steps that an error goes through, its own included; k2 in the literature.
      every: steps between two backward passes, at most `window`; k1 in the literature.

    Returns:
      The last carry and the outputs `[time, *batch, *output_shape]`: the numbers that `scan` returns.

    Raises:
      ValueError: `window` or `every` out of range, or what `scan` raises.

    References: Williams and Peng 1990, https://doi.org/10.1162/neco.1990.2.4.490, where it is BPTT(h; h') with
    h = `window`, h' = `every`
    """
    checks.positive_int("window", window)
    if every is None:
        every = window
    checks.positive_int("every", every)
    if every > window:
        raise checks.fail("every", f"at most window={window}", repr(every))
    _, (_, history) = lax.stop_gradient(scan(cell, params, xs, carry, return_history=True))
    if carry is None:
        carry = cell.initial_carry(params, xs.shape[1 : xs.ndim - len(cell.input_shape)])

    time = xs.shape[0]
    window, every = min(window, time), min(every, time)
    ends = np.minimum(np.arange(every, time + every, every), time)
    starts = np.maximum(ends - window, 0)
    carries = jax.tree.map(lambda c, h: jnp.concatenate([c[None], h])[starts], carry, history)
    last, ys = scan(cell, params, xs[starts + np.arange(window)[:, None]], carries)  # [window, piece, *batch, ...]
    steps = np.arange(time)
    piece = steps // every
    return jax.tree.map(lambda c: c[-1], last), ys[steps - starts[piece], piece]


@dataclasses.dataclass(frozen=True)
class Truncated(Wrapped):
    """A cell whose errors go back in time through its memory alone, as the LSTM was first trained.

    Errors that arrive at the net input of a gate or of a memory cell change the weights there and go no further: not
    to the outputs of the step before, nor through peepholes to the memory. What `update` keeps of the carry, the path
    c' = f c of an LSTM or z h of a GRU, passes them on unchanged in every length of time. Values are those of the cell
    within; only derivatives differ. An Elman network keeps nothing, and learns as with a window of one step.

    The LSTM of 1997 is `Truncated(MemoryBlockLSTM.of_1997(...))`, that of 2000 `Truncated(LSTM(...))`.

    The cell must split (`SplitCell`); others are refused.

    References: Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735, section 4 and appendix A;
    Gers, Schmidhuber, Cummins 2000, https://doi.org/10.1162/089976600300015015; for peepholes Gers, Schraudolph,
    Schmidhuber 2002, https://www.jmlr.org/papers/v3/gers02a.html
    """

    draws: ClassVar[bool] = False
    splits: ClassVar[bool] = True
    recurs: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        if not getattr(self.cell, "splits", False):
            raise checks.fail("cell", "a cell that `splits` its step into products and the rest", repr(self.cell))

    def preactivate(self, params: Any, carry: Carry, z: Any) -> Any:
        return self.cell.preactivate(params, lax.stop_gradient(carry), z)

    def update(self, carry: Carry, a: Any) -> tuple[Carry, Array]:
        if isinstance(self.cell, PeepholeLSTM) and a[1] is not None:  # the output gate's peephole, which waits for c'
            gates, p_o = a
            c = lax.stop_gradient(self.cell.update(carry, a)[0].c).astype(p_o.dtype)
            a = gates | {"o": gates["o"] + p_o * c}, None
        return self.cell.update(carry, a)

    def recur(self, params: Any, carry: Carry, seen: Carry, z: Any) -> tuple[Carry, Array]:
        after, y = self.update(carry, self.preactivate(params, seen, z))
        return after, y.astype(jax.tree.leaves(params)[0].dtype)

    def step(self, params: Any, carry: Carry, z: Any) -> tuple[Carry, Array]:
        """Returns the next carry and the output in the parameters' dtype."""
        return self.recur(params, carry, carry, z)


class Bias(NamedTuple):
    """How far an approximate gradient g' is from the exact g, two scalars.

    `error` is |g' - g| / |g|: 0 where they agree, 1 for a gradient of nothing. `cosine` is that of the angle between
    them. Both are NaN where their denominator is 0.
    """

    error: Array
    cosine: Array


def gradient_bias(approximate: Params, exact: Params) -> Bias:
    """Compares two gradients, pytrees of one structure; all leaves count as one vector.

    Raises ValueError where their structures or shapes differ.
    """
    checks.same_tree("approximate", approximate, exact)

    def product(a: Params, b: Params) -> Any:
        terms = jax.tree.map(lambda x, y: jnp.vdot(x.astype(wide(x.dtype)), y.astype(wide(y.dtype))), a, b)
        return sum(jax.tree.leaves(terms))

    missing = jax.tree.map(jnp.subtract, approximate, exact)
    squared = product(exact, exact)
    error = jnp.sqrt(product(missing, missing) / squared)
    return Bias(error, product(approximate, exact) / jnp.sqrt(product(approximate, approximate) * squared))
