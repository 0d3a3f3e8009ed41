"""How fast: forward, training and single-step time of every contender, and what share of the machine that is."""

import bisect
import dataclasses
import math
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import contenders
from benchmarks.contenders import CELLS, MODES, OURS, TEXTBOOK
from benchmarks.timing import Prepared, compiled, interleave, median_ratio
from lstm_jax import kernels
from lstm_jax.cells.dense import DenseCell

Shape = tuple[int, int, int, int]
"""batch, time, input size, hidden size"""

GRIDS: dict[str, tuple[Shape, ...]] = {
    "quick": ((1, 128, 64, 64), (32, 100, 64, 128), (32, 32, 256, 256)),
    "standard": ((1, 128, 64, 64), (32, 100, 64, 128), (32, 256, 256, 256), (64, 128, 512, 512), (128, 64, 1024, 1024)),
    "kernels": (
        (1, 128, 64, 64),
        (8, 1000, 32, 32),
        (16, 200, 96, 160),
        (32, 100, 64, 128),
        (32, 256, 256, 256),
        (64, 128, 512, 512),
        (128, 64, 1024, 1024),
    ),
    "sweep": (
        *((batch, 100, 128, 128) for batch in (1, 8, 32, 128)),
        *((32, time, 128, 128) for time in (25, 400)),
        *((32, 100, hidden, hidden) for hidden in (32, 512)),
    ),
}


ENSEMBLE = (8, (32, 100, 8, 32))
"""What the "kernels" grid times besides: so many seeds at this shape."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is timed, and how often."""

    grid: tuple[Shape, ...] = GRIDS["quick"]
    cells: tuple[str, ...] = tuple(CELLS)
    contenders: tuple[str, ...] = (OURS, TEXTBOOK)
    dtype: str = "float32"
    device: str = "cpu"
    implementation: str | None = None
    """What runs our own scan, None for the choice of `kernels.explain`."""
    rounds: int = 5
    least_seconds: float = 0.02
    ensemble: tuple[int, Shape] | None = None
    """Seeds, and the shape that so many of them are timed at together, by vmap."""
    matched: bool = True
    """Whether GRU and RNN are also timed with as many parameters as the LSTM, on the second shape of the grid."""


def flop(cell: str, mode: str, shape: Shape) -> int:
    """Multiplications and additions of the products: 2 a weight, step and example; three times that in training."""
    batch, time, inputs, hidden = shape
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[cell]
    return 2 * gates * batch * time * hidden * (hidden + inputs) * (3 if mode == "training" else 1)


def parameters(cell: DenseCell) -> int:
    """How many numbers a cell learns."""
    return sum(math.prod(x.shape) for x in jax.tree.leaves(jax.eval_shape(lambda: cell.init(jax.random.key(0)))))


def equal_parameters(cell: str, inputs: int, hidden: int) -> int:
    """The hidden size with which a cell has, as nearly as can be, the parameters of an LSTM of `hidden`."""
    aim = parameters(CELLS["LSTM"](inputs, hidden))

    def excess(size: int) -> int:
        return parameters(CELLS[cell](inputs, size)) - aim

    enough = 1 + bisect.bisect_left(range(1, 4 * hidden + 1), 0, key=excess)
    return min(max(1, enough - 1), enough, key=lambda size: abs(excess(size)))


def cases(settings: Settings) -> Iterator[tuple[str, Shape, str, int]]:
    """Every cell and shape, by what it equals the LSTM beside it (hidden size or parameters), and how many seeds."""
    for i, (batch, time, inputs, hidden) in enumerate(settings.grid):
        for cell in settings.cells:
            yield cell, (batch, time, inputs, hidden), "hidden size", 1
            if settings.matched and cell != "LSTM" and i == min(1, len(settings.grid) - 1):
                yield cell, (batch, time, inputs, equal_parameters(cell, inputs, hidden)), "parameters", 1
    if settings.ensemble:
        seeds, shape = settings.ensemble
        yield from ((cell, shape, "hidden size", seeds) for cell in settings.cells)


def count(settings: Settings) -> int:
    """How many steps the progress bar has."""
    return len(list(cases(settings))) * len(MODES) + len(settings.cells)


def measure(settings: Settings, advance: Callable[[str], None]) -> list[dict[str, Any]]:
    """Times every case; the large product of the same machine runs in the same rounds."""
    rows = []
    for cell, shape, matched, seeds in cases(settings):
        for mode in MODES:
            advance(f"{cell} {mode} {shape}")
            rows += _case(settings, cell, shape, matched, mode, seeds)
    for cell in settings.cells:
        advance(f"{cell} single step")
        rows += _step(settings, cell)
    return rows


def _case(settings: Settings, name: str, shape: Shape, matched: str, mode: str, seeds: int) -> list[dict[str, Any]]:
    batch, time, inputs, hidden = shape
    cell = CELLS[name](inputs, hidden)
    prepared = {
        contender: contenders.prepare(
            contender, cell, mode, (batch, time), settings.dtype, settings.device, settings.implementation, seeds
        )
        for contender in settings.contenders
        if contenders.has(contender, CELLS[name])
    }
    figures = interleave({**prepared, "product": _product(settings.dtype)}, settings.rounds, settings.least_seconds)
    best_product = 2 * _PRODUCT**3 / min(figures["product"])
    work = flop(name, mode, shape) * seeds
    rows = []
    for contender in prepared:
        seconds = statistics.median(figures[contender])
        rows.append(
            {
                **_row(settings, name, contender, mode, matched, figures, prepared[contender]),
                "batch": batch,
                "time": time,
                "input_size": inputs,
                "hidden_size": hidden,
                "seeds": seeds,
                "parameters": parameters(cell),
                "tokens_per_second": seeds * batch * time / seconds,
                "gflops": work / seconds / 1e9,
                "product_gflops": best_product / 1e9,
                "share_of_product": work / seconds / best_product,
            }
        )
    return rows


def _step(settings: Settings, name: str) -> list[dict[str, Any]]:
    hidden = 256
    cell = CELLS[name](hidden, hidden)
    names = [c for c in settings.contenders if contenders.has(c, CELLS[name], step=True)]
    prepared = {c: contenders.prepare_step(c, cell, settings.dtype, settings.device) for c in names}
    figures = interleave(prepared, settings.rounds, settings.least_seconds)
    shape = {"batch": 1, "time": 1, "input_size": hidden, "hidden_size": hidden, "parameters": parameters(cell)}
    return [{**_row(settings, name, c, "step", "hidden size", figures, prepared[c]), **shape} for c in names]


def _row(
    settings: Settings, cell: str, contender: str, mode: str, matched: str, figures: dict, prepared: Prepared
) -> dict[str, Any]:
    return {
        "cell": cell,
        "contender": contender,
        "mode": mode,
        "equal": matched,
        "dtype": settings.dtype,
        "implementation": _runs(settings, cell) if contender == OURS else None,
        "seconds": statistics.median(figures[contender]),
        "rounds": figures[contender],
        "speedup_of_ours": median_ratio(figures[contender], figures[OURS]),
        "compile_seconds": prepared.compile_seconds,
        "temp_bytes": prepared.temp_bytes,
    }


def _runs(settings: Settings, cell: str) -> str:
    xs = jnp.zeros((1, 1), settings.dtype)
    return kernels.explain(CELLS[cell](1, 1), xs, implementation=settings.implementation).chosen


_PRODUCT = 1024


def _product(dtype: str) -> Prepared:
    a = jnp.ones((_PRODUCT, _PRODUCT), dtype)
    return compiled(jnp.dot, a, a)
