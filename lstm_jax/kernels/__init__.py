"""Which loop runs a call: one literal table of what serves what, and the reasons in words."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from lstm_jax import checks
from lstm_jax.cells import GRU, LSTM, Elman
from lstm_jax.kernels import associative, cpu, cudnn, mosaic_gpu, xla, xla_vjp
from lstm_jax.kernels.memory import keep_memory as keep_memory
from lstm_jax.kernels.xla import Options, Sequence
from lstm_jax.types import Array, Carry, Cell, Params


class Kernel(NamedTuple):
    """One implementation: what runs it, and what it serves."""

    run: Callable[[Any, Options, Params, Sequence], tuple[Carry, Any]]
    cells: tuple[type, ...] | None = None
    """Types of cells, None for all."""
    needs: tuple[str, str] | None = None
    """What a cell must have: an attribute that is True, and what it says in words."""
    platforms: tuple[str, ...] | None = None
    dtypes: tuple[str, ...] | None = None
    history: bool = True
    """Whether it returns the carry after every step."""
    varying: bool = True
    """Whether it serves arrays that `jax.shard_map` tracks the mesh axes of (`check_vma=True`)."""
    resets: bool = True
    carries: bool = True
    """Whether it serves a carry in another dtype than the inputs'."""
    measured: bool = True
    """Where not, it is taken by name alone."""
    missing: Callable[[], str | None] = lambda: None
    """Why it is not installed, None where it is."""
    limits: Callable[[Any, str], str | None] = lambda cell, dtype: None
    """Why it does not serve a cell of this size in this dtype, None where it does."""


_SPLITS = ("splits", "whose step splits into products and the rest")


def _run_tpu(*call: Any) -> tuple[Carry, Any]:
    from lstm_jax.kernels import tpu  # Pallas, which takes as long to import as all of this library

    return tpu.run_tpu(*call)


# The first that serves a call is the one that `implementation=None` takes. "cpu" is ahead at every shape of
# benchmarks/results/2026-11-kernels-*.
TABLE = {
    "cpu": Kernel(
        cpu.run_cpu,
        cells=(LSTM, GRU, Elman),
        platforms=("cpu",),
        dtypes=("float32", "bfloat16"),
        history=False,
        varying=False,
        missing=cpu.missing,
    ),
    "xla_vjp": Kernel(xla_vjp.run_vjp, needs=_SPLITS, varying=False),
    "xla": Kernel(xla.run),
    "associative": Kernel(associative.run, needs=("affine", "whose state is affine in the one before")),
    "cudnn": Kernel(
        cudnn.run_cudnn,
        cells=(LSTM,),
        platforms=("gpu",),
        dtypes=("float32",),
        history=False,
        varying=False,
        resets=False,
        carries=False,
        measured=False,
        missing=cudnn.missing,
    ),
    "mosaic_gpu": Kernel(
        mosaic_gpu.run_mosaic,
        cells=(LSTM, GRU, Elman),
        needs=_SPLITS,
        platforms=("gpu",),
        dtypes=("float32", "bfloat16"),
        history=False,
        varying=False,
        measured=False,
        limits=mosaic_gpu.limits,
    ),
    "tpu": Kernel(
        _run_tpu,
        cells=(LSTM, GRU, Elman),
        needs=_SPLITS,
        platforms=("tpu",),
        dtypes=("float32", "bfloat16"),
        history=False,
        varying=False,
        measured=False,
    ),
}
REFERENCE = "xla"


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Which implementation a call gets, and for every other one why not."""

    chosen: str
    passed_over: dict[str, str]

    def __str__(self) -> str:
        lines = [f"{self.chosen}: chosen", *(f"{name}: {why}" for name, why in self.passed_over.items())]
        return "\n".join(lines)


def refusal(
    name: str,
    cell: Cell,
    dtype: Any = None,
    *,
    return_history: bool = False,
    varying: bool = False,
    resets: bool = False,
    carry: Carry | None = None,
) -> str | None:
    """Returns why an implementation cannot serve a call, None where it can."""
    kernel = TABLE[name]
    if kernel.platforms is not None and platform() not in kernel.platforms:
        return f"platform: {name!r} serves {', '.join(kernel.platforms)}, got {platform()}"
    if (why := kernel.missing()) is not None:
        return why
    if name != REFERENCE:
        cell = compiled_as(cell)
    if kernel.cells is not None and type(cell) not in kernel.cells:
        return f"`cell`: {name!r} serves {', '.join(c.__name__ for c in kernel.cells)}, got {type(cell).__name__}"
    if kernel.needs is not None and not getattr(cell, kernel.needs[0], False):
        return f"`cell`: {name!r} serves cells {kernel.needs[1]} (`{kernel.needs[0]}`), got {cell}"
    if kernel.dtypes is not None and dtype is not None and str(dtype) not in kernel.dtypes:
        return f"`xs`: {name!r} serves {', '.join(kernel.dtypes)}, got {dtype}"
    if dtype is not None and (why := kernel.limits(cell, str(dtype))) is not None:
        return why
    if return_history and not kernel.history:
        return f"`return_history`: {name!r} does not serve it"
    if varying and not kernel.varying:
        return f"`xs`: {name!r} serves `jax.shard_map` with check_vma=False alone"
    if resets and not kernel.resets:
        return f"`resets`: {name!r} does not serve them"
    if dtype is not None and not kernel.carries:
        other = [str(leaf.dtype) for leaf in jax.tree.leaves(carry) if leaf.dtype != dtype]
        if other:
            return f"`carry`: {name!r} serves the dtype of `xs` alone, {dtype}, got {other[0]}"
    return None


def compiled_as(cell: Cell) -> Cell:
    """Returns the cell that compiled loops see: itself, unless it says that it `runs_as` another."""
    return getattr(cell, "runs_as", cell)


def recast(name: str, cell: Cell, params: Params) -> tuple[Cell, Params]:
    """Returns the cell and the prepared parameters that an implementation runs: for the reference, as they are."""
    other = compiled_as(cell)
    if name == REFERENCE or other is cell:
        return cell, params
    return other, cell.recast(params)  # pyright: ignore[reportAttributeAccessIssue] -- comes with `runs_as`


def explain(
    cell: Cell,
    xs: Array | None = None,
    *,
    carry: Carry | None = None,
    resets: Array | None = None,
    key: Array | None = None,
    return_history: bool = False,
    implementation: str | None = None,
) -> Explanation:
    """Says which implementation `scan` takes for a call and why the others were passed over.

    The arguments are those of `scan`; of `carry` the dtypes count, of `resets` whether there are any.

    Raises ValueError for a wrong argument or an unknown name, NotImplementedError where the named one cannot serve
    the call.
    """
    checks.cell("cell", cell)
    if xs is not None:
        checks.array("xs", xs)
    if key is not None:
        checks.typed_key("key", key)
    dtype, varying = (None, False) if xs is None else (xs.dtype, bool(xla.mesh_axes(xs)))

    def why_not(name: str) -> str | None:
        return refusal(
            name,
            cell,
            dtype,
            return_history=return_history,
            varying=varying,
            resets=resets is not None,
            carry=carry,
        )

    if implementation is not None:
        checks.one_of("implementation", implementation, tuple(TABLE))
        why = why_not(implementation)
        if why is not None:
            raise NotImplementedError(f"`implementation`: {implementation!r} cannot serve this call: {why}")
        return Explanation(implementation, {name: "another was named" for name in TABLE if name != implementation})
    chosen, passed = None, {}
    for name in TABLE:
        why = why_not(name)
        if why is not None:
            passed[name] = why
        elif not TABLE[name].measured:
            passed[name] = "not measured yet: taken by name alone"
        elif chosen is None:
            chosen = name
        else:
            passed[name] = f"comes after {chosen!r}"
    assert chosen is not None, "the reference serves everything"
    return Explanation(chosen, passed)


def platform() -> str:
    """The platform that the computation runs on: that of `jax.default_device` where one is set."""
    device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    return str(getattr(device, "platform", device) or jax.default_backend()).split(":")[0]


def arrangement() -> dict[str, bool]:
    """What `Options` of a loop depends on the platform, by measurement.

    On XLA's CPU backend the input product stays inside: read back slice by slice, pre-activations cost more than the
    product saves.
    """
    here = platform()
    return {"hoist": here != "cpu", "flat": here == "cpu" and jax.device_count(here) == 1}
