"""python -m benchmarks {compare,throughput,accuracy,claims,switch,seeds,text,diff}: LSTM, GRU, vanilla RNN compared."""

import argparse
import datetime
import importlib
import math
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

DTYPES = ("float32", "bfloat16", "float64")
CELLS = ("LSTM", "GRU", "RNN")
MORE_CELLS = ("NFG", "CEC", "PeepholeLSTM", "MinGRU", "LRU")
PAIRS = ("claims", "switch", "seeds", "text")
"""Commands, and modules, that time two ways to do one thing."""
KEPT = Path("results/runs")
"""Where `accuracy` keeps its runs."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message} (--help lists the options)", file=sys.stderr)
        raise SystemExit(2)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status. A wrong option is one line on stderr and status 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "diff":
        from benchmarks.diff import compare

        try:
            print(compare(options.a, options.b), end="")
        except ValueError as error:
            parser.error(str(error))
        return 0
    try:
        return _measure(options, shlex.join(["python", "-m", "benchmarks", *(arguments or sys.argv[1:])]))
    except WrongOptionError as error:
        parser.error(str(error))


class WrongOptionError(Exception):
    pass


def _parser() -> _Parser:
    parser = _Parser(prog="python -m benchmarks", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    helps = {
        "compare": "throughput and accuracy in one report",
        "throughput": "forward, training and single-step time",
        "accuracy": "the suite of long-range tasks, over seeds",
        "claims": "what chunked recomputation and vmap cost",
        "switch": "a Flax model before and after its recurrent layer is changed to ours",
        "seeds": "training with five seeds in one program, beside a Flax loop",
        "text": "training a language model, beside Flax and PyTorch",
    }
    for name, text in helps.items():
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.add_argument("--full", action="store_true", help="the long version: more shapes, lengths and steps")
        command.add_argument("--out", type=Path, help="folder to write (default: results/COMMAND-DATE)")
        command.add_argument("--device", choices=("cpu", "gpu", "tpu"), help="platform (default: jax's own choice)")
        cells = {"throughput": (*CELLS, "all"), "accuracy": (*CELLS, *MORE_CELLS)}.get(name, CELLS)
        chosen = () if name == "accuracy" else CELLS
        command.add_argument("--cells", nargs="+", choices=cells, default=chosen, metavar="CELL", help=", ".join(cells))
        command.add_argument("--quiet", action="store_true", help="no tables and no progress bar")
        if name != "accuracy":
            command.add_argument("--rounds", type=_positive, help="interleaved rounds (default: 5, with --full 9)")
        if name in ("compare", "throughput"):
            command.add_argument(
                "--seconds", type=_seconds, help="of calls a figure, at least (default: 0.02, with --full 0.1)"
            )
            command.add_argument("--dtype", choices=DTYPES, default="float32", help="of parameters and inputs")
            command.add_argument(
                "--grid", nargs="+", metavar="GRID", help="quick, standard, sweep, or shapes as B,T,D,H"
            )
            command.add_argument("--implementation", help="what runs our own scan (default: the one it chooses)")
            command.add_argument("--against", nargs="+", metavar="PEER", help="some peers, such as 'Flax linen'")
            command.add_argument("--peers", action="store_true", help="every peer must be installed: none is left out")
            command.add_argument(
                "--keep-memory", action="store_true", help="lstm_jax.kernels.keep_memory() first, for all contenders"
            )
        if name in ("compare", "accuracy"):
            seeds = "5" if name == "accuracy" else "3, with --full 5"
            command.add_argument("--seeds", type=_positive, help=f"seeds a setting (default: {seeds})")
            command.add_argument("--only", nargs="+", metavar="TASK", help="some tasks, such as 'adding'")
        if name == "accuracy":
            command.add_argument(
                "--budget", type=_positive, metavar="MINUTES", help="begin no run after this time; a later call goes on"
            )
            command.add_argument(
                "--fresh", action="store_true", help=f"measure anew what earlier calls have kept in {KEPT}"
            )
    command = commands.add_parser("diff", help="two results side by side", allow_abbrev=False)
    command.add_argument("a", type=Path, help="a results.json")
    command.add_argument("b", type=Path, help="another")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0, got {text!r}")
    return seconds


def _measure(options: argparse.Namespace, command: str) -> int:
    import jax

    if getattr(options, "keep_memory", False):
        from lstm_jax.kernels import keep_memory

        if not keep_memory():
            raise WrongOptionError("argument --keep-memory: the C library here has no such setting")
    if options.device:
        jax.config.update("jax_platforms", {"gpu": "cuda"}.get(options.device, options.device))
    if getattr(options, "dtype", None) == "float64":
        jax.config.update("jax_enable_x64", True)
    try:
        platform = jax.devices()[0].platform
    except (RuntimeError, AssertionError):  # the second is what jax raises for a platform that it does not know
        raise WrongOptionError(f"argument --device: no {options.device} here") from None
    _extra("matplotlib", "sklearn", *(["flax"] if options.command in ("switch", "seeds", "text") else []))

    from benchmarks import accuracy, environment, family, report, throughput

    began = time.perf_counter()
    rounds = getattr(options, "rounds", None) or (9 if options.full else 5)
    everyone = "all" in options.cells
    if everyone:
        _alone(options)
    timed = options.command in ("compare", "throughput") and not everyone
    speed = _speed_settings(options, platform, rounds) if timed else None
    shapes = (_grid(options.grid) if options.grid else (family.SHAPE,)) if everyone else ()
    runs = _runs(options) if options.command in ("compare", "accuracy") else []
    pairs = importlib.import_module(f"benchmarks.{options.command}") if options.command in PAIRS else None
    result: dict[str, Any] = {"command": command, "environment": environment.record()}
    total = (throughput.count(speed) if speed else 0) + 2 * len(runs)
    total += pairs.count(tuple(options.cells)) if pairs else len(shapes) * family.count()
    with _progress(total, options.quiet) as advance:
        if speed:
            result["throughput"] = throughput.measure(speed, advance)
        if runs:
            goes_on = {} if options.command == "compare" else {"kept": KEPT, "fresh": options.fresh}
            result["accuracy"] = accuracy.measure(runs, advance, minutes=getattr(options, "budget", None), **goes_on)
            result["runs_left"] = len(runs) - len(result["accuracy"])
        if shapes:
            result["family"] = [row for shape in shapes for row in family.measure(shape, rounds, advance)]
        if pairs:
            result["claims"] = pairs.measure(tuple(options.cells), rounds, advance)
    result["seconds"] = time.perf_counter() - began
    stamp = datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S")
    path = report.write(result, options.out or Path("results") / f"{options.command}-{stamp}")
    if not options.quiet:
        _print(result, path)
    return 0


def _speed_settings(options: argparse.Namespace, platform: str, rounds: int) -> Any:
    from benchmarks import contenders, throughput

    names = contenders.available()
    for peer in options.against or ():
        if peer not in contenders.PEERS:
            raise WrongOptionError(f"argument --against: expected {', '.join(contenders.PEERS)}, got {peer!r}")
    missing = set(options.against or (contenders.PEERS if options.peers else ())) - set(names)
    if missing:
        option = "--against" if options.against else "--peers"
        raise WrongOptionError(
            f"argument {option}: not installed: {', '.join(sorted(missing))}; pip install '.[peers]'"
        )
    if options.against:
        names = (contenders.OURS, contenders.TEXTBOOK, *options.against)
    elif not (options.full or options.peers):
        usual = ("Flax linen", "PyTorch")
        names = tuple(n for n in names if n in usual or n not in contenders.PEERS)
    if options.implementation is not None:
        _obeyed(options)
    return throughput.Settings(
        grid=_grid(options.grid or ["standard" if options.full or options.peers else "quick"]),
        cells=tuple(options.cells),
        contenders=names,
        dtype=options.dtype,
        device=platform,
        implementation=options.implementation,
        ensemble=throughput.ENSEMBLE if "kernels" in (options.grid or []) else None,
        rounds=rounds,
        least_seconds=options.seconds or (0.1 if options.full else 0.02),
    )


def _alone(options: argparse.Namespace) -> None:
    """Refuses what `--cells all` would leave unheard."""
    if len(options.cells) > 1:
        raise WrongOptionError("argument --cells: all stands alone")
    usual = {"dtype": "float32", "implementation": None, "against": None, "peers": False, "seconds": None}
    for name, value in usual.items():
        if getattr(options, name) != value:
            raise WrongOptionError(f"argument --{name}: --cells all has none: every cell in float32, beside the LSTM")


def _obeyed(options: argparse.Namespace) -> None:
    import jax.numpy as jnp

    from benchmarks.contenders import CELLS as MADE
    from lstm_jax import kernels

    for name in options.cells:
        try:
            kernels.explain(MADE[name](1, 1), jnp.zeros((1, 1), options.dtype), implementation=options.implementation)
        except (ValueError, NotImplementedError) as error:
            raise WrongOptionError(f"argument --implementation: {error}") from None


def _grid(words: list[str]) -> tuple:
    from benchmarks.throughput import GRIDS

    shapes = []
    for word in words:
        if word in GRIDS:
            shapes += GRIDS[word]
            continue
        sizes = word.split(",")
        if len(sizes) != 4 or not all(s.isdigit() and int(s) > 0 for s in sizes):
            raise WrongOptionError(f"argument --grid: expected {', '.join(GRIDS)} or B,T,D,H, got {word!r}")
        shapes.append(tuple(map(int, sizes)))
    return tuple(shapes)


def _runs(options: argparse.Namespace) -> list:
    from benchmarks import accuracy
    from benchmarks.suite import SUITE

    for task in options.only or ():
        if task not in SUITE:
            raise WrongOptionError(f"argument --only: expected some of {', '.join(SUITE)}, got {task!r}")
        try:
            SUITE[task].make(100)
        except (ImportError, OSError, ValueError) as error:  # data that are not here
            raise WrongOptionError(f"argument --only: {task}: {error}") from None
    level = ("quick", "short", "full")[(options.command == "accuracy") + options.full]
    seeds = options.seeds or (3 if level == "quick" else 5)
    return accuracy.cases(level, tuple(options.only or ()), tuple(options.cells), seeds)


def _extra(*modules: str) -> None:
    import importlib.util

    missing = [m for m in modules if importlib.util.find_spec(m) is None]
    if missing:
        raise WrongOptionError(
            f"{', '.join(missing)} not installed; pip install '.[bench{',flax' * ('flax' in missing)}]'"
        )


class _progress:  # noqa: N801 -- used as a function
    """A bar on stderr; `advance(text)` says what begins and moves it on."""

    def __init__(self, total: int, quiet: bool):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description:40.40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.bar = Progress(*columns, console=Console(stderr=True), disable=quiet, refresh_per_second=2)
        self.task = self.bar.add_task("", total=total)

    def __enter__(self) -> Callable[[str], None]:
        self.bar.start()
        return lambda text: self.bar.update(self.task, advance=1, description=text)

    def __exit__(self, *_: Any) -> None:
        self.bar.stop()


def _print(result: dict[str, Any], path: Path) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from benchmarks import remembered, report

    console = Console()
    # Left to the report:
    drop = {"equal", "compile s", "GFLOP/s", "MB", "sequences each", "seconds to solve", "steps/s", "parameters"}
    tables = {
        "What they remember, best setting of each": remembered.accuracy_table(result.get("accuracy", [])),
        "How fast they are, and how many times slower the others": report.throughput_table(
            result.get("throughput", [])
        ),
        "Two ways to write the same call": report.claims_table(result.get("claims", [])),
        "The family beside the LSTM": report.family_table(result.get("family", [])),
        "One step at batch 1, 256 units": report.step_table(result.get("throughput", [])),
    }
    for title, rows in tables.items():
        if rows:
            shown = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
            names = [name for name in rows[0] if name not in drop]
            for name in names:
                shown.add_column(name)
            for row in rows:
                shown.add_row(*(str(row[name]) for name in names))
            console.print(shown)
    console.print(f"{result['seconds']:.0f} s; report: {path}", soft_wrap=True)
    if left := result.get("runs_left"):
        console.print(f"{left} runs left; the same command goes on where this one ended")


if __name__ == "__main__":
    raise SystemExit(main())
