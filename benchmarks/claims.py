"""Two promises, measured: chunked recomputation is lean at a small price, and vmap costs nothing against a batch."""

import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import lstm_jax as lj
from benchmarks.contenders import CELLS, MODES
from benchmarks.timing import Prepared, compiled, interleave, median_ratio

CHUNKED = (16, 20_000, 128, 128, 250)
"""batch, time, input size, hidden size, steps between the carries that are kept"""
MAPPED = (32, 100, 64, 128)
SEEDS = 4


def count(cells: tuple[str, ...]) -> int:
    """How many steps the progress bar has."""
    return len(cells) * (1 + 2 * len(MODES))


def measure(cells: tuple[str, ...], rounds: int, advance: Callable[[str], None]) -> list[dict[str, Any]]:
    """Each row sets one way of writing a call against another: the ratio of times, and of temporary memory."""
    rows = []
    for name in cells:
        advance(f"{name}: chunk")
        rows.append(_chunk(name, rounds))
        for mode in MODES:
            advance(f"{name}: vmap, {mode}")
            rows.append(_mapped(name, mode, rounds))
            advance(f"{name}: vmap under {SEEDS} seeds, {mode}")
            rows.append(_mapped(name, mode, rounds, seeds=SEEDS))
    return rows


def _chunk(name: str, rounds: int) -> dict[str, Any]:
    batch, time, inputs, hidden, chunk = CHUNKED
    cell = CELLS[name](inputs, hidden)
    params = cell.init(jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (time, batch, inputs))

    def training(**options: Any) -> Prepared:
        def loss(p: Any, x: Any) -> Any:
            carry, _ = lj.scan(cell, p, x, **options)
            return jnp.mean(jnp.square(jax.tree.leaves(carry)[0]))

        return compiled(jax.value_and_grad(loss), params, xs)

    pair = {"plain scan": training(implementation="xla"), f"chunk={chunk}": training(chunk=chunk)}
    return row(name, "training, loss on the last state", (batch, time, inputs, hidden), pair, rounds)


def _mapped(name: str, mode: str, rounds: int, seeds: int | None = None) -> dict[str, Any]:
    batch, time, inputs, hidden = MAPPED
    cell = CELLS[name](inputs, hidden)
    xs = jax.random.normal(jax.random.key(1), (time, batch, inputs))

    def run(params: Any, x: Any) -> Any:
        return lj.scan(cell, params, x)[1]

    def prepared(call: Callable) -> Prepared:
        def loss(p: Any, x: Any) -> Any:
            return jnp.mean(jnp.square(call(p, x)))

        fn = call if mode == "forward" else jax.value_and_grad(loss, argnums=(0, 1))
        if seeds is None:
            return compiled(fn, cell.init(jax.random.key(0)), xs)
        params = jax.vmap(cell.init)(jax.random.split(jax.random.key(0), seeds))
        return compiled(jax.vmap(fn, in_axes=(0, None)), params, xs)

    pair = {
        "explicit batch": prepared(run),
        "vmap over inputs": prepared(jax.vmap(run, in_axes=(None, 1), out_axes=1)),
    }
    under = "" if seeds is None else f", under vmap over {seeds} seeds"
    return row(name, mode + under, MAPPED, pair, rounds)


def row(cell: str, what: str, shape: tuple, pair: dict[str, Prepared], rounds: int) -> dict[str, Any]:
    """Two ways to write the same call, timed side by side."""
    figures = interleave(pair, rounds, 0.1)
    (first, a), (second, b) = pair.items()
    return {
        "cell": cell,
        "what": what,
        "shape": shape,
        "a": first,
        "b": second,
        "a_seconds": statistics.median(figures[first]),
        "b_seconds": statistics.median(figures[second]),
        "rounds": figures,
        "time_ratio": median_ratio(figures[second], figures[first]),
        "a_temp_bytes": a.temp_bytes,
        "b_temp_bytes": b.temp_bytes,
    }
