"""The embedded Reber grammar: its automaton, walks through it, and how a prediction of the next symbol is judged."""

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from lstm_jax import losses
from lstm_jax.tasks.base import Sequences
from lstm_jax.tasks.types import Batch

ALPHABET = "BTPSXVE"
REBER = ("B1", "T2 P3", "S2 X4", "T3 V5", "X3 S6", "P4 V6", "E7")  # the arcs out of each node: a symbol, where it leads

# Nodes of the embedded grammar: before the outer B, before T or P, before E; then Reber's nodes 0 to 7 once for each
# outer symbol, so that a node knows it, and stands for all that a perfect predictor must remember.
START, OPEN, CLOSE, INSIDE = 0, 1, 2, {"T": 3, "P": 11}
AGAIN = [INSIDE["T"] + 7, INSIDE["P"] + 7]  # where the outer symbol must come again


def _arcs() -> tuple[np.ndarray, np.ndarray]:
    """The symbols and the ends of the two equally likely arcs out of each node, `[19, 2]`; a lone arc counts twice."""
    arcs = {START: [("B", OPEN)], OPEN: list(INSIDE.items()), CLOSE: [("E", START)]}
    for outer, first in INSIDE.items():
        arcs |= {first + node: [(arc[0], first + int(arc[1])) for arc in out.split()] for node, out in enumerate(REBER)}
        arcs[first + 7] = [(outer, CLOSE)]
    pairs = [(2 * arcs[node])[:2] for node in sorted(arcs)]
    symbols = [[ALPHABET.index(symbol) for symbol, _ in pair] for pair in pairs]
    return np.array(symbols, np.int32), np.array([[end for _, end in pair] for pair in pairs], np.int32)


SYMBOLS, ENDS = _arcs()
LEGAL = np.any(SYMBOLS[..., None] == np.arange(len(ALPHABET)), axis=1)  # [19, 7]


def walk(key: Array, symbols: Array, nodes: Array, first: np.ndarray) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
    """Draws a symbol after each step's input: `first[t, node]` is the probability of the first arc out of a node.

    Returns:
        The last symbols and nodes `[batch]`; and the inputs, the nodes behind them, the symbols that came next and the
        nodes behind those, each `[time, batch]`.
    """

    def step(at, draw):
        symbol, node = at
        uniform, first = draw
        arc = (uniform >= first[node]).astype(jnp.int32)
        after = jnp.asarray(SYMBOLS)[node, arc], jnp.asarray(ENDS)[node, arc]
        return after, (symbol, node, *after)

    uniform = jax.random.uniform(key, (len(first), *symbols.shape), jnp.float32)
    return jax.lax.scan(step, (symbols, nodes), (uniform, jnp.asarray(first, jnp.float32)))


def begin(batch_size: int) -> tuple[Array, Array]:
    """The first symbol of every string, B, and the node behind it."""
    return jnp.full(batch_size, ALPHABET.index("B"), jnp.int32), jnp.full(batch_size, OPEN, jnp.int32)


class NextSymbol(Sequences):
    """Judges logits of the next symbol: the legal ones, one or two, must be above all others.

    Targets are `[time, batch, 7]`: 1 at the symbol that came next, 1/2 at the other legal one, 0 at the illegal ones.
    """

    kind: Literal["classification", "regression"] = "classification"
    alphabet: ClassVar[str] = ALPHABET
    input_size = len(ALPHABET)
    output_size = len(ALPHABET)

    def loss(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """The mean softmax cross entropy of the symbol that came next, in nats; a scalar of float32 or better.

        It stands in for the squared error of the paper's logistic units. It cannot fall to zero: where two symbols are
        legal the best of predictors pays log 2.
        """
        outputs, targets, mask = losses.check_values(outputs, targets, mask)
        return losses.cross_entropy(outputs, jnp.argmax(targets, axis=-1), mask)

    def error(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """The fraction of steps at which some illegal symbol is not below every legal one, a float32 scalar."""
        wrong = self._wrong(outputs, targets, mask)
        return jnp.sum(wrong, dtype=jnp.float32) / jnp.maximum(jnp.sum(mask, dtype=jnp.float32), 1)

    def correct(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """Whether at every step each legal symbol's output is above each illegal one's: `[batch]` bool."""
        return ~jnp.any(self._wrong(outputs, targets, mask), axis=0)

    def steps_to_error(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """The steps that are right before the first wrong one, all of them where none is wrong: `[batch]` int32."""
        wrong = self._wrong(outputs, targets, mask)
        steps = jnp.sum(mask, axis=0, dtype=jnp.int32)
        return jnp.where(jnp.any(wrong, axis=0), jnp.argmax(wrong, axis=0).astype(jnp.int32), steps)

    def _wrong(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """Whether a step counts and is wrong: `[time, batch]` bool. Pair by pair, so that NaN is always wrong."""
        outputs, targets, mask = losses.check_values(outputs, targets, mask)
        legal = targets > 0
        judged = legal[..., :, None] & ~legal[..., None, :]
        above = outputs[..., :, None] > outputs[..., None, :]
        return jnp.any(judged & ~above, axis=(-2, -1)) & mask

    def encode(self, walked: tuple[Array, ...], mask: Array, dtype: DTypeLike) -> Batch:
        """The batch made of what `walk` drew, zero where the mask is False."""
        symbols, nodes, answers, _ = walked
        wide = np.promote_types(dtype, np.float32)
        came = jax.nn.one_hot(answers, self.output_size, dtype=wide)
        targets = (came + jnp.asarray(LEGAL)[nodes].astype(wide)) / 2
        inputs = jax.nn.one_hot(symbols, self.input_size, dtype=dtype)
        return Batch(jnp.where(mask[..., None], inputs, 0), jnp.where(mask[..., None], targets, 0), mask)
