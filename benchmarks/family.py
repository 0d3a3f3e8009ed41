"""Every cell of the family at one shape, in the same rounds as the LSTM: what a variant costs."""

import functools
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

import lstm_jax as lj
from benchmarks.contenders import MODES, gradient
from benchmarks.throughput import Shape, parameters
from benchmarks.timing import compiled, interleave, median_ratio
from lstm_jax import kernels


class Member(NamedTuple):
    """One row: a cell, or one way to run it."""

    make: Callable[[int, int], Any]
    """Builds the cell from its numbers of inputs and of units."""
    implementation: str | None = None
    noisy: bool = False
    """Whether it is timed with a key."""


def _variant(**options: Any) -> Member:
    return Member(functools.partial(lj.PeepholeLSTM, **options))


def _images(cell: type) -> Member:
    """As many numbers as the others in images of 4 by 4."""
    return Member(lambda inputs, hidden: cell((4, 4), max(1, inputs // 16), max(1, hidden // 16)))


FAMILY = {
    "LSTM": Member(lj.LSTM),
    "GRU": Member(lj.GRU),
    "GRU, reset before the product": Member(functools.partial(lj.GRU, reset_after=False)),
    "Elman": Member(lj.Elman),
    "IRNN": Member(lj.IRNN),
    "PeepholeLSTM": _variant(),
    "PeepholeLSTM without peepholes (NP)": _variant(peepholes=False),
    "PeepholeLSTM, i open (NIG)": _variant(open_gates=("i",)),
    "PeepholeLSTM, f open (NFG)": _variant(open_gates=("f",)),
    "PeepholeLSTM, o open (NOG)": _variant(open_gates=("o",)),
    "PeepholeLSTM, no input activation (NIAF)": _variant(input_activation="identity"),
    "PeepholeLSTM, no output activation (NOAF)": _variant(output_activation="identity"),
    "PeepholeLSTM, coupled (CIFG)": _variant(coupled=True),
    "PeepholeLSTM, coupled, no peepholes": _variant(peepholes=False, coupled=True),
    "PeepholeLSTM, f open, no peepholes": _variant(peepholes=False, open_gates=("f",)),
    "FullGateLSTM (FGR)": Member(lj.FullGateLSTM),
    "MemoryBlockLSTM, blocks of 4": Member(functools.partial(lj.MemoryBlockLSTM, block_size=4)),
    "MemoryBlockLSTM.of_1997": Member(lj.MemoryBlockLSTM.of_1997),
    "ProjectedLSTM, half": Member(lambda inputs, hidden: lj.ProjectedLSTM(inputs, hidden, proj_size=hidden // 2)),
    "LayerNormLSTM": Member(lj.LayerNormLSTM),
    "LayerNormGRU": Member(lj.LayerNormGRU),
    "JANET": Member(lj.JANET),
    "MultiplicativeLSTM": Member(lj.MultiplicativeLSTM),
    "SLSTM, 4 heads": Member(functools.partial(lj.SLSTM, heads=4)),
    "MGU": Member(lj.MGU),
    "MGU, reset after the product": Member(functools.partial(lj.MGU, reset_after=True)),
    "MUT1": Member(lj.MUT1),
    "MUT2": Member(lj.MUT2),
    "MUT3": Member(lj.MUT3),
    "LightGRU": Member(lj.LightGRU),
    "IndRNN": Member(lj.IndRNN),
    "SCRN": Member(functools.partial(lj.SCRN, context_size=32)),
    "MinLSTM": Member(lj.MinLSTM),
    "MinLSTM by associative": Member(lj.MinLSTM, implementation="associative"),
    "MinGRU": Member(lj.MinGRU),
    "MinGRU by associative": Member(lj.MinGRU, implementation="associative"),
    "LRU": Member(lj.LRU),
    "LRU by associative": Member(lj.LRU, implementation="associative"),
    "ConvLSTM, 4 x 4": _images(lj.ConvLSTM),
    "ConvGRU, 4 x 4": _images(lj.ConvGRU),
    "NTM, 32 slots of 16": Member(
        lambda inputs, hidden: lj.NTM(inputs, hidden, inputs, memory_slots=32, memory_width=16)
    ),
    "ChildSumTreeLSTM, random trees": Member(lj.ChildSumTreeLSTM),
    "NaryTreeLSTM, random trees": Member(lj.NaryTreeLSTM),
    "Zoneout(LSTM)": Member(lambda *sizes: lj.Zoneout(lj.LSTM(*sizes), rates=(0.05, 0.5)), noisy=True),
    "VariationalDropout(LSTM)": Member(lambda *sizes: lj.VariationalDropout(lj.LSTM(*sizes)), noisy=True),
    "WeightDrop(LSTM)": Member(lambda *sizes: lj.WeightDrop(lj.LSTM(*sizes)), noisy=True),
}
SHAPE = (32, 100, 64, 128)


def count() -> int:
    """How many steps the progress bar has."""
    return (len(FAMILY) + 1) * len(MODES)


def measure(shape: Shape, rounds: int, advance: Callable[[str], None]) -> list[dict[str, Any]]:
    """Times every cell, forward and training; one row a cell and mode."""
    rows = []
    for mode in MODES:
        prepared = {}
        for name, member in FAMILY.items():
            advance(f"compiling {name} {mode}")
            call, arguments = _call(member, shape)
            prepared[name] = compiled(call if mode == "forward" else gradient(call), *arguments)
        advance(f"all cells, {mode}")
        figures = interleave(prepared, rounds, 0.02)
        for name, member in FAMILY.items():
            cell = member.make(*shape[2:])
            rows.append(
                {
                    "cell": name,
                    "mode": mode,
                    "shape": list(shape),
                    "implementation": member.implementation or _chosen(cell),
                    "parameters": parameters(cell),
                    "seconds": statistics.median(figures[name]),
                    "rounds": figures[name],
                    "times_the_lstm": median_ratio(figures[name], figures["LSTM"]),
                    "compile_seconds": prepared[name].compile_seconds,
                    "temp_bytes": prepared[name].temp_bytes,
                }
            )
    return rows


def _chosen(cell: Any) -> str:
    return kernels.explain(cell).chosen if hasattr(cell, "project") else "levels"


def _call(member: Member, shape: Shape) -> tuple[Callable, tuple]:
    """A function of parameters and inputs, and these."""
    batch, time, inputs, hidden = shape
    cell = member.make(inputs, hidden)
    params = cell.init(jax.random.key(0))
    if not hasattr(cell, "project"):
        forest = lj.forests.forest(_random_trees(batch, time), arity=2)
        xs = jax.random.normal(jax.random.key(1), (batch * time, inputs))
        return lambda p, x: lj.forests.run(cell, p, x, forest).h, (params, xs)
    key = jax.random.key(2) if member.noisy else None
    xs = jax.random.normal(jax.random.key(1), (time, batch, *cell.input_shape))
    return lambda p, x: lj.scan(cell, p, x, key=key, implementation=member.implementation)[1], (params, xs)


def _random_trees(trees: int, nodes: int) -> list:
    """Binary trees that grow by a leaf at a random free place."""
    random, found = np.random.default_rng(0), []
    for _ in range(trees):
        children: list[list[int]] = [[] for _ in range(nodes)]
        for node in range(1, nodes):
            children[random.choice([p for p in range(node) if len(children[p]) < 2])].append(node)
        found.append(children)
    return found
