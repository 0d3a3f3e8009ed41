"""What the long-range suite says of one task: lengths, steps, cells, learning rates, published figures."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from benchmarks.learners import USUAL

Level = Literal["quick", "short", "full"]
"""What `compare` runs, what `accuracy` runs, and what `accuracy --full` runs."""


class Published(NamedTuple):
    """What a paper reports that its network needed, by our `length`."""

    sequences: Mapping[int, int]
    source: str


@dataclasses.dataclass(frozen=True)
class Entry:
    """One task of the suite."""

    group: str
    make: Callable[[int], Any]
    """By length: a task, or labelled examples (`lstm_jax.data`)."""
    hidden_size: int
    steps: Mapping[Level, Mapping[int, int]]
    """By level and length: the training steps that every cell may take."""
    longer: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """By cell: the steps of one that needs more of them, the same at every level and length."""
    cells: tuple[str, ...] = USUAL
    rates: tuple[float, ...] = (1e-2,)
    batch: int = 64
    period: int = 20
    """Steps between two looks at the validation sequences."""
    decay: bool = False
    """Whether the learning rate falls to zero over the steps, of which a run then takes all: for a task whose last
    errors are the rate's own noise."""
    tested: int = 512
    """Validation sequences; the test has as many."""
    make_test: Callable[[int], Any] | None = None
    """By length: the task of the validation and test sequences; None takes `make`."""
    further: tuple[int, ...] = ()
    """Lengths beside its own at which it is tested, at the end."""
    matched: tuple[int, ...] = ()
    """Lengths at which GRU and RNN also run with as many parameters as the LSTM."""
    control: bool = False
    """Whether the vanilla RNN is expected to keep up, so that the task says nothing for gates."""
    figure: str | None = None
    """What `error` is; None says it by the task's kind."""
    published: Published | None = None
    tried: str | None = None
    """What else was tried where its figure is not reached, and what that figure means."""
    by_name: tuple[Level, ...] = ()
    """The levels that leave it out unless it is named."""

    def plan(self, level: Level) -> Mapping[int, int]:
        """The lengths and steps of a level, or those of the next longer one that there is."""
        levels: tuple[Level, ...] = ("quick", "short", "full")
        return next(self.steps[name] for name in levels[levels.index(level) :] if name in self.steps)
