"""Which loop runs a call: one literal table of what serves what, and the reasons in words."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from lstm_jax import checks
from lstm_jax.cells import GRU, LSTM, Elman
from lstm_jax.kernels import xla, xla_vjp
from lstm_jax.kernels.xla import Options, Sequence
from lstm_jax.types import Array, Carry, Cell, Params


class Kernel(NamedTuple):
    """One implementation: what runs it, and what it serves."""

    run: Callable[[Any, Options, Params, Sequence], tuple[Carry, Any]]
    cells: tuple[type, ...] | None
    """Types of cells, None for all."""
    without: dict[str, Any]
    """Options of a cell that it cannot serve."""
    keys: bool
    """Whether a call may have a key: it hands it to its cells, or they draw nothing."""


# The first that serves a call is the one that `implementation=None` takes.
TABLE = {
    "xla_vjp": Kernel(xla_vjp.run_vjp, cells=(LSTM, GRU, Elman), without={"reset_after": False}, keys=True),
    "xla": Kernel(xla.run, cells=None, without={}, keys=True),
}


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Which implementation a call gets, and for every other one why not."""

    chosen: str
    passed_over: dict[str, str]

    def __str__(self) -> str:
        lines = [f"{self.chosen}: chosen", *(f"{name}: {why}" for name, why in self.passed_over.items())]
        return "\n".join(lines)


def refusal(name: str, cell: Cell, *, key: bool) -> str | None:
    """Returns why an implementation cannot serve a call, None where it can."""
    kernel = TABLE[name]
    if kernel.cells is not None and type(cell) not in kernel.cells:
        return f"`cell`: {name!r} serves {', '.join(c.__name__ for c in kernel.cells)}, got {type(cell).__name__}"
    for option, value in kernel.without.items():
        if getattr(cell, option, None) == value:
            return f"`cell`: {name!r} does not serve {option}={value!r}"
    if key and not kernel.keys:
        return f"`key`: {name!r} does not serve randomness within a sequence"
    return None


def explain(
    cell: Cell, xs: Array | None = None, *, key: Array | None = None, implementation: str | None = None
) -> Explanation:
    """Says which implementation `scan` takes for a call and why the others were passed over.

    Raises ValueError for a wrong argument or an unknown name, NotImplementedError where the named one cannot serve
    the call.
    """
    checks.cell("cell", cell)
    if xs is not None:
        checks.array("xs", xs)
    if key is not None:
        checks.typed_key("key", key)
    passed = {}
    if implementation is not None:
        checks.one_of("implementation", implementation, tuple(TABLE))
        why = refusal(implementation, cell, key=key is not None)
        if why is not None:
            raise NotImplementedError(f"`implementation`: {implementation!r} cannot serve this call: {why}")
        return Explanation(implementation, {name: "another was named" for name in TABLE if name != implementation})
    chosen = None
    for name in TABLE:
        why = refusal(name, cell, key=key is not None)
        if why is not None:
            passed[name] = why
        elif chosen is None:
            chosen = name
        else:
            passed[name] = f"comes after {chosen!r}"
    assert chosen is not None, "the reference serves everything"
    return Explanation(chosen, passed)


def hoists() -> bool:
    """Whether the input product leaves the loop on the platform that the computation runs on.

    On XLA's CPU backend it stays inside: read back slice by slice, pre-activations cost more than the product saves.
    """
    device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    platform = getattr(device, "platform", device) or jax.default_backend()
    return str(platform).split(":")[0] != "cpu"
