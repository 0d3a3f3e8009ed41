"""Interleaved timing: every round times every contender once, so that the machine's drift hits all alike."""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Prepared(NamedTuple):
    """A contender, compiled: calling it runs it once, asynchronously where its library does."""

    run: Callable[[], Any]
    wait: Callable[[Any], Any] = jax.block_until_ready
    compile_seconds: float = 0.0
    temp_bytes: int | None = None
    """What XLA's own analysis says the program needs beside its arguments and results."""


def compiled(fn: Callable, *args: Any) -> Prepared:
    """Compiles a JAX function for these arguments."""
    began = time.perf_counter()
    program = jax.jit(fn).lower(*args).compile()
    seconds = time.perf_counter() - began
    memory = program.memory_analysis()
    return Prepared(
        lambda: program(*args), compile_seconds=seconds, temp_bytes=getattr(memory, "temp_size_in_bytes", None)
    )


def jitted(fn: Callable, *args: Any) -> Prepared:
    """The same through `jax.jit`'s own call, whose dispatch is the quicker one: for calls of microseconds."""
    call = jax.jit(fn)
    began = time.perf_counter()
    jax.block_until_ready(call(*args))
    return Prepared(lambda: call(*args), compile_seconds=time.perf_counter() - began)


_REST = 0.02  # seconds


def interleave(contenders: dict[str, Prepared], rounds: int, least_seconds: float) -> dict[str, list[float]]:
    """Returns each contender's seconds a call, one figure a round; the first call of each is not counted.

    A figure is the mean over as many calls as take `least_seconds` in all, at least one. Before them the threads of the
    contender before come to rest (OpenMP's spin on for milliseconds, on cores that the next one needs), and a quarter
    as many, at least one, go uncounted, which bring its own threads, memory and data back.
    """
    calls = {}
    for name, contender in contenders.items():
        contender.wait(contender.run())
        calls[name] = max(1, round(least_seconds / max(_seconds(contender, 1), 1e-7)))
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            time.sleep(_REST)
            _seconds(contender, calls[name] // 4 + 1)
            figures[name].append(_seconds(contender, calls[name]))
    return figures


def median_ratio(a: list[float], b: list[float]) -> float:
    """The median over rounds of a/b: each round's two figures were taken within moments of each other."""
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


def _seconds(contender: Prepared, calls: int) -> float:
    began = time.perf_counter()
    out = None
    for _ in range(calls):
        out = contender.run()
    contender.wait(out)
    return (time.perf_counter() - began) / calls
