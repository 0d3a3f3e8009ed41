"""The embedded Reber grammar, string by string and as a stream without end: predict the next symbol at every step."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.tasks.base import at_least, floating
from lstm_jax.tasks.reber_grammar import AGAIN, ENDS, OPEN, START, NextSymbol, begin, walk
from lstm_jax.tasks.types import Batch


@dataclass(frozen=True)
class EmbeddedReber(NextSymbol):
    """Predict the next symbol of a string B, T or P, a Reber string, the same T or P, E (experiment 1).

    Where two symbols are legal, both have probability 1/2. Inputs are one-hot over BTPSXVE, and every step but the last
    symbol's has a target. The hard step is the last but one: the outer T or P again, with five symbols or more between.

    Departures from the paper: strings are drawn afresh from the whole language instead of from 256 for training and
    256 others for test, so that the short ones come in both; and a string of more than `length` symbols is drawn again
    as a whole. Among the shorter ones the probabilities keep their ratio, and every string comes to its hard step; at
    40 one string in 17,600 is redrawn. That needs no loop: each arc is drawn with the probability that it has given
    that the string ends in time.

    Args:
        length: the most symbols of a string, at least 9; 12 is the mean.

    Raises:
        ValueError: `length` is not an integer of at least 9, the symbols of the shortest strings.

    References:
        Hochreiter & Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997, experiment 1.
    """

    length: int = 40

    def __post_init__(self):
        at_least(9, length=self.length)

    @property
    def time(self) -> int:
        """The steps of a batch: one less than the symbols of the longest string."""
        return self.length - 1

    @property
    def chance(self) -> float:
        """The error of knowing all but the outer T or P, and guessing it: half a step out of a string's mean steps."""
        ended = self._ended[:, OPEN]
        return 0.5 / float(np.sum(1 - ended[:-1] / ended[-1]))

    @property
    def _ended(self) -> np.ndarray:
        """The probability that a string ends within 0, 1, ..., `time` more symbols, `[time + 1, 19]`."""
        rows = [np.eye(len(ENDS))[START]]
        for _ in range(self.time):
            rows.append(np.where(rows[0] == 1, 1, rows[-1][ENDS].mean(axis=1)))
        return np.stack(rows)

    def generate(self, key: Array, batch_size: int, dtype: DTypeLike) -> Batch:
        """Draws one-hot inputs, targets and mask `[time, batch, ...]`."""
        ended = self._ended[::-1]  # at step t there is room for `time - t` more symbols
        either = 2 * ended[:-1]
        first = np.divide(ended[1:, ENDS[:, 0]], either, out=np.full_like(either, 0.5), where=either > 0)
        _, walked = walk(key, *begin(batch_size), first)
        steps = jnp.argmax(walked[-1] == START, axis=0).astype(jnp.int32) + 1
        return self.encode(walked, jnp.arange(self.time, dtype=jnp.int32)[:, None] < steps, dtype)


class ReberStream(NamedTuple):
    """Where a batch of endless streams stands: what `ContinualReber.advance` goes on from."""

    key: Array  # a typed key, for all that is still to be drawn
    symbols: Array  # [batch] int32, the next inputs, which the streams have come to already
    nodes: Array  # [batch] int32, the nodes of the automaton behind them


@dataclass(frozen=True)
class ContinualReber(NextSymbol):
    """Predict the next symbol in an endless stream of embedded Reber strings, whose ends nothing marks.

    Strings follow one another as in `EmbeddedReber`, of any length and with probability 1/2 for each of two legal
    symbols; after E the next B is legal. A window is `length` steps of a stream, and every step has a target: the last
    one's is the input of the step to come. `sample` draws windows that begin with a string. A network that is to run on
    without ever being reset is fed window after window of the same streams, and its carry handed on with them:

        stream = task.start(key, batch_size)
        stream, batch = task.advance(stream)  # as often as wanted; the first time with a fresh carry

    As others report it, the paper trains on one stream at a time, until the first error or for 100,000 symbols, tests
    on ten such streams, and reports how far they come: `steps_to_error`, which over several windows adds up until one
    of them has an error. Ten streams without any error make a perfect network, a mean of over 1,000 symbols a good one.
    `solved` is the first of these for the windows that it is shown.

    Departures from the paper: windows of fixed length, which an error does not end; and a step is right by the measure
    of 1997, where this paper asks every output unit to be within 0.49 of its target.

    Args:
        length: the steps of a window, at least 9.

    Raises:
        ValueError: `length` is not an integer of at least 9, the symbols of the shortest strings.

    References:
        Gers, Schmidhuber & Cummins, "Learning to forget: continual prediction with LSTM", Neural Computation 12(10),
        2000, the continual embedded Reber grammar.
    """

    length: int = 100

    def __post_init__(self):
        at_least(9, length=self.length)

    @property
    def time(self) -> int:
        """The steps of a window: `length`."""
        return self.length

    @property
    def t_max(self) -> int | None:
        """The horizon recommended for chrono initialisation: nothing need be known for longer than a string lasts.

        Strings have no longest; this is the horizon of `EmbeddedReber`, under which all but 1 in 17,600 end.
        """
        return EmbeddedReber().t_max

    @property
    def chance(self) -> float:
        """The error of knowing all but the outer T or P, and guessing it, in windows that begin with a string.

        Half the expected share of steps at which it is asked for: 1/24, half a step in a string of 12, as windows grow.
        """
        at, asked = np.eye(len(ENDS))[OPEN], 0.0
        for _ in range(self.length):
            asked += float(at[AGAIN].sum())
            at = np.bincount(ENDS.ravel(), np.repeat(at / 2, 2), len(ENDS))
        return 0.5 * asked / self.length

    def generate(self, key: Array, batch_size: int, dtype: DTypeLike) -> Batch:
        """Draws the first windows of independent streams."""
        return self.advance(self.start(key, batch_size), dtype)[1]

    def start(self, key: Array, batch_size: int) -> ReberStream:
        """Independent streams before their first string.

        Args:
            key: a typed key, `jax.random.key`, from which all windows are drawn.
            batch_size: at least 1, static under jit.

        Raises:
            ValueError: `batch_size` is not an integer of at least 1.
        """
        at_least(1, batch_size=batch_size)
        return ReberStream(key, *begin(batch_size))

    def advance(self, stream: ReberStream, dtype: DTypeLike = jnp.float32) -> tuple[ReberStream, Batch]:
        """Draws the next window of each stream.

        Args:
            stream: what `start` or the last `advance` returned.
            dtype: the float dtype of the inputs; targets have this dtype or float32, the wider one.

        Returns:
            The streams behind the window, and a Batch `[length, batch, ...]` whose mask is True everywhere.

        Raises:
            ValueError: `dtype` is not a float.
        """
        floating(dtype)
        key, now = jax.random.split(stream.key)
        even = np.full((self.length, len(ENDS)), 0.5)
        at, walked = walk(now, stream.symbols, stream.nodes, even)
        mask = jnp.ones(walked[0].shape, bool)
        return ReberStream(key, *at), self.encode(walked, mask, dtype)
