"""The long-range suite as a table: every task with its lengths, sizes, cells and published figures."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from benchmarks.learners import LINEAR, TIMING, USUAL
from lstm_jax import data, tasks

Level = Literal["quick", "short", "full"]
"""What `compare` runs, what `accuracy` runs, and what `accuracy --full` runs."""


class Published(NamedTuple):
    """What a paper reports that its network needed, by our `length`."""

    sequences: Mapping[int, int]
    source: str


HS97 = "LSTM, Hochreiter & Schmidhuber 1997"


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
    """Steps between two looks at the test sequences."""
    decay: bool = False
    """Whether the learning rate falls to zero over the steps, of which a run then takes all: for a task whose last
    errors are the rate's own noise."""
    tested: int = 512
    """Test sequences."""
    make_test: Callable[[int], Any] | None = None
    """By length: the task that the trained network is tested on; None takes `make`."""
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
    """What else was tried where its figure is not reached."""
    by_name: tuple[Level, ...] = ()
    """The levels that leave it out unless it is named."""

    def plan(self, level: Level) -> Mapping[int, int]:
        """The lengths and steps of a level, or those of the next longer one that there is."""
        levels: tuple[Level, ...] = ("quick", "short", "full")
        return next(self.steps[name] for name in levels[levels.index(level) :] if name in self.steps)


def _mnist(permuted: bool) -> Entry:
    read = functools.cache(lambda: data.mnist(permuted))
    steps: dict[Level, dict[int, int]] = {"short": {784: 1000}, "full": {784: 10_000}}
    return Entry(
        "images",
        lambda _: read(),
        128,
        steps,
        rates=(3e-3, 1e-3),
        period=500,
        by_name=("quick", "short", "full"),
    )


LAGS_TRIED = "batches of 1 and 4, learning rates of 0.1 and 0.03, 32 units, and up to 24,000 sequences"

SUITE: dict[str, Entry] = {
    "embedded Reber": Entry(
        "1997",
        lambda length: tasks.EmbeddedReber(length),
        12,
        {"short": {40: 2000}, "full": {40: 4000}},
        rates=(3e-2, 1e-2),
        batch=10,
        period=25,
        figure="steps with a wrong symbol",
        published=Published({40: 8_440}, HS97),
    ),
    "regular lag": Entry(
        "1997",
        lambda p: tasks.LongLagPrediction(p),
        16,
        {"short": {100: 400}, "full": {100: 1000}},
        batch=16,
        tried=LAGS_TRIED,
        published=Published({100: 5_040}, HS97),
    ),
    "irregular lag": Entry(
        "1997",
        lambda p: tasks.LongLagPrediction(p, regular=False),
        16,
        {"short": {100: 400}, "full": {100: 1000}},
        batch=16,
        tried=LAGS_TRIED,
        published=Published({100: 5_680}, HS97),
    ),
    "long lag": Entry(
        "1997",
        lambda q: tasks.LongLag(q, p=q),
        16,
        {
            "quick": {30: 120, 100: 120},
            "short": {30: 200, 100: 300},
            "full": {50: 1000, 100: 1000, 200: 1000, 500: 300, 1000: 300},
        },
        batch=16,
        tested=256,
        matched=(100,),
        published=Published({50: 30_000, 100: 31_000, 200: 33_000, 500: 38_000, 1000: 49_000}, HS97),
    ),
    "two sequences, 3 signals": Entry(
        "1997",
        lambda length: tasks.TwoSequence(length, 3),
        16,
        {"short": {100: 400}, "full": {100: 1500, 1000: 1500}},
        control=True,
        published=Published({100: 27_380, 1000: 446_850}, HS97),
    ),
    "two sequences, 1 signal": Entry(
        "1997",
        lambda length: tasks.TwoSequence(length, 1),
        16,
        {"full": {100: 1500}},
        control=True,
        published=Published({100: 58_370}, HS97),
    ),
    "two sequences, noisy signals": Entry(
        "1997", lambda length: tasks.TwoSequence(length, 3, noisy_signal=True), 16, {"full": {100: 2000}}, control=True
    ),
    "two sequences, noisy targets": Entry(
        "1997",
        lambda length: tasks.TwoSequenceNoisyTarget(length, 3),
        16,
        {"full": {100: 4000}},
        make_test=lambda length: tasks.TwoSequenceNoisyTarget(length, 3).noise_free,
    ),
    "adding of 1997": Entry(
        "1997",
        lambda length: tasks.Adding1997(length),
        16,
        {"short": {100: 800}, "full": {100: 2000, 500: 2000, 1000: 2500}},
        batch=20,
        tested=256,
        published=Published({100: 74_000, 500: 209_000, 1000: 853_000}, HS97),
    ),
    "multiplication": Entry(
        "1997",
        lambda length: tasks.Multiplication(length),
        16,
        {"short": {100: 3000}, "full": {100: 6000}},
        batch=20,
        tested=256,
        published=Published({100: 482_000}, HS97),
    ),
    "temporal order": Entry(
        "1997",
        lambda length: tasks.TemporalOrder(length),
        16,
        {
            "quick": {30: 300, 100: 300},
            "short": {30: 400, 100: 400},
            "full": {30: 1000, 60: 1000, 100: 1000, 200: 1000, 400: 1000},
        },
        matched=(100, 400),
        published=Published({100: 31_390}, HS97),
    ),
    "temporal order of three": Entry(
        "1997",
        lambda length: tasks.TemporalOrder(length, symbols=3),
        16,
        {"short": {100: 1000}, "full": {100: 2000, 200: 2000}},
        batch=32,
        published=Published({100: 571_100}, HS97),
    ),
    "continual Reber": Entry(
        "timing",
        lambda length: tasks.ContinualReber(length),
        8,
        {"full": {100: 3000}},
        cells=("LSTM", "NFG", "GRU", "RNN"),
        rates=(3e-2, 1e-2),
        batch=8,
        period=50,
        tested=64,
        further=(1000, 10_000),
        figure="steps with a wrong symbol",
    ),
    "spike delays": Entry(
        "timing",
        lambda length: tasks.MeasureSpikeDelay(length, spikes=10),
        8,
        {"short": {10: 500}, "full": {10: 2000, 30: 2000, 50: 2000}},
        cells=TIMING,
        batch=16,
        tested=128,
        control=True,
    ),
    "timed spikes": Entry(
        "timing",
        lambda length: tasks.GenerateTimedSpikes(length, spikes=10),
        8,
        {"full": {10: 3000, 30: 3000}},
        cells=TIMING,
        batch=16,
        tested=128,
    ),
    "cosine": Entry(
        "timing",
        lambda length: tasks.PeriodicFunction(length, "cosine", periods=10),
        8,
        {"full": {10: 3000, 25: 3000}},
        cells=TIMING,
        batch=1,
        tested=1,
    ),
    "adding": Entry(
        "memory",
        lambda length: tasks.Adding(length),
        32,
        {
            "quick": {30: 300, 100: 400},
            "short": {30: 500, 100: 600},
            "full": {30: 1000, 60: 1000, 100: 1500, 200: 800, 400: 600, 750: 600},
        },
        matched=(100,),
    ),
    "copy": Entry(
        "memory",
        lambda length: tasks.Copy(length),
        64,
        {"full": {200: 6000}},
        rates=(2e-2,),
        batch=32,
        tested=256,
        tried="128 units, batches of 16, learning rates of 0.01 and 0.003, rates that fall to zero, and 8,000 steps",
        figure="nats a step",
    ),
    "variable copy": Entry(
        "memory",
        lambda length: tasks.VariableCopy(length),
        64,
        {"full": {100: 3000}},
        rates=(2e-2, 1e-2),
        batch=32,
        tested=256,
        figure="nats a step",
    ),
    "denoise": Entry(
        "memory",
        lambda length: tasks.Denoise(length),
        64,
        {"full": {200: 2000}},
        rates=(2e-2,),
        batch=32,
        tested=256,
        figure="nats a step",
    ),
    "selective copy": Entry(
        "memory",
        lambda length: tasks.SelectiveCopy(length, items=8, symbols=8),
        64,
        {"full": {100: 3000}},
        batch=32,
        tested=256,
    ),
    "associative recall": Entry(
        "memory",
        lambda length: tasks.MQAR(length, vocabulary=20),
        64,
        {"full": {64: 3000}},
        batch=32,
        tested=256,
    ),
    "delayed recall": Entry(
        "memory",
        lambda length: tasks.DelayedRecall(length),
        16,
        {"short": {30: 400, 100: 400}, "full": {30: 1000, 100: 1000, 300: 1000, 1000: 1000}},
        batch=32,
        tested=256,
    ),
    "far recall": Entry(
        "memory",
        lambda length: tasks.DelayedRecall(length),
        16,
        {"full": {10_000: 1000}},
        rates=(3e-2,),
        batch=16,
        period=50,
        tested=128,
    ),
    "parity": Entry(
        "state",
        lambda length: tasks.Parity(length),
        16,
        {"short": {40: 2500}, "full": {40: 5000}},
        cells=LINEAR,
        rates=(1e-2, 3e-3),
        make_test=lambda length: tasks.Parity(length, shortest=length),
        further=(80, 160, 320),
        control=True,
    ),
    "cycle navigation": Entry(
        "state",
        lambda length: tasks.CycleNavigation(length),
        32,
        {"short": {40: 1000}, "full": {40: 3000}},
        cells=LINEAR,
        rates=(1e-2, 3e-3),
        make_test=lambda length: tasks.CycleNavigation(length, shortest=length),
        further=(80, 160, 320),
        control=True,
    ),
    "modular arithmetic": Entry(
        "state",
        lambda length: tasks.ModularArithmetic(length),
        64,
        {"full": {40: 2000}},
        rates=(1e-2, 3e-3),
        make_test=lambda length: tasks.ModularArithmetic(length, shortest=length),
        further=(80, 160, 320),
        control=True,
    ),
    "word problem of S3": Entry(
        "state",
        lambda length: tasks.WordProblem(length, group="S3"),
        32,
        {"short": {20: 600}, "full": {20: 3000}},
        cells=LINEAR,
        rates=(1e-2, 3e-3),
        make_test=lambda length: tasks.WordProblem(length, shortest=length, group="S3"),
        further=(40, 80, 160),
        control=True,
    ),
    "word problem of S5": Entry(
        "state",
        lambda length: tasks.WordProblem(length, swaps=True),
        128,
        {"full": {20: 12_000}},
        longer={"RNN": 40_000},
        cells=LINEAR,
        rates=(3e-3,),
        batch=32,
        period=100,
        decay=True,
        tested=256,
        make_test=lambda length: tasks.WordProblem(length, shortest=length, swaps=True),
        further=(40, 80, 160),
        control=True,
    ),
    "agreement": Entry(
        "language",
        lambda length: tasks.Agreement(length),
        16,
        {"short": {16: 400}, "full": {16: 2000, 64: 2000}},
        batch=16,
        period=10,
        make_test=lambda length: tasks.Agreement(length, shortest=length),
        further=(128, 256, 512),
        control=True,
    ),
    "digits": Entry(
        "images",
        lambda _: data.digits(),
        32,
        {"quick": {64: 300}, "short": {64: 600}, "full": {64: 3000}},
        rates=(2e-2, 1e-2, 3e-3),
    ),
    "permuted digits": Entry(
        "images",
        lambda _: data.digits(permuted=True),
        32,
        {"quick": {64: 300}, "short": {64: 600}, "full": {64: 600}},
        rates=(2e-2, 1e-2, 3e-3),
        by_name=("quick",),
    ),
    "MNIST": _mnist(permuted=False),
    "permuted MNIST": _mnist(permuted=True),
}


def usual(level: Level) -> tuple[str, ...]:
    """The tasks that a level runs when none is named."""
    return tuple(name for name, entry in SUITE.items() if level in entry.steps and level not in entry.by_name)
