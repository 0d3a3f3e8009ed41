"""The pictures of a report: one message each, axes with units, the same colour for a cell everywhere."""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import MODES, OURS, TEXTBOOK

COLOURS = {"LSTM": "#0b5fa5", "GRU": "#d1701c", "RNN": "#6b6b6b"}
COLOURS |= {"NFG": "#7fb2dd", "CEC": "#2aa5a0", "PeepholeLSTM": "#173a5e", "MinGRU": "#2b8a3e", "LRU": "#a33b8f"}
MARKERS = {"LSTM": "o", "GRU": "s", "RNN": "^", "NFG": "v", "CEC": "p", "PeepholeLSTM": "D", "MinGRU": "P", "LRU": "X"}
PANELS = 6
"""The most panels of a picture; with more tasks there is a picture for each group of them."""


def draw(result: dict[str, Any], folder: Path) -> list[tuple[str, str]]:
    """Draws what a result has data for; returns each picture's file name and caption."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True})
    plt.rcParams.update({"grid.alpha": 0.25, "figure.dpi": 130, "legend.frameon": False})
    drawn = []
    if result.get("throughput"):
        drawn.append(("throughput.png", _throughput(plt, result["throughput"], folder / "throughput.png")))
    if result.get("accuracy"):
        rows = [r for r in result["accuracy"] if r["equal"] == "hidden size"]
        for name, own in _pages(rows).items():
            by_length = [r for r in own if _lengths(r, own)]
            if by_length:
                drawn.append((f"accuracy{name}.png", _accuracy(plt, by_length, folder / f"accuracy{name}.png")))
            drawn.append((f"learning_curves{name}.png", _curves(plt, own, folder / f"learning_curves{name}.png")))
    return drawn


def _save(plt: Any, figure: Any, path: Path) -> None:
    figure.savefig(path)
    plt.close(figure)


def _throughput(plt: Any, rows: list[dict], path: Path) -> str:
    rows = [r for r in rows if r["mode"] in MODES and r["equal"] == "hidden size" and r.get("seeds", 1) == 1]
    shapes = list(dict.fromkeys((r["batch"], r["time"], r["input_size"], r["hidden_size"]) for r in rows))
    cells = list(dict.fromkeys(r["cell"] for r in rows))
    figure, axes = plt.subplots(1, 2, figsize=(max(10, 2.8 * len(shapes)), 4.2), sharey=True, layout="constrained")
    width = 0.8 / len(cells)
    for axis, mode in zip(axes, MODES, strict=True):
        for k, cell in enumerate(cells):
            places = np.arange(len(shapes)) + (k - (len(cells) - 1) / 2) * width
            for contender in (OURS, TEXTBOOK):
                by_shape = {
                    (r["batch"], r["time"], r["input_size"], r["hidden_size"]): r["tokens_per_second"]
                    for r in rows
                    if r["cell"] == cell and r["mode"] == mode and r["contender"] == contender
                }
                heights = [by_shape.get(shape, np.nan) for shape in shapes]
                if contender == OURS:
                    axis.bar(places, heights, width * 0.92, color=COLOURS[cell], label=cell)
                else:
                    axis.scatter(places, heights, marker="_", s=220, color="black", zorder=3, linewidths=1.8)
        axis.scatter([], [], marker="_", s=160, color="black", linewidths=1.8, label="textbook lax.scan")
        axis.set_yscale("log")
        axis.set_xticks(range(len(shapes)), [f"B {b}, T {t}\nD {d}, H {h}" for b, t, d, h in shapes])
        axis.set_title(f"{mode}: steps of sequence per second")
        axis.grid(axis="x", visible=False)
    axes[0].set_ylabel("batch x time steps per second (log scale)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(cells) + 1)
    _save(plt, figure, path)
    return (
        "Throughput of the three cells at equal hidden size; the black line is the textbook lax.scan of the same cell."
    )


def _panels(plt: Any, count: int) -> tuple[Any, list]:
    columns = 2 if count == 4 else min(count, 3)
    lines = -(-count // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(4 * columns, 3.3 * lines + 0.5), squeeze=False, layout="constrained"
    )
    flat = list(axes.flat)
    for spare in flat[count:]:
        spare.set_visible(False)
    return figure, flat[:count]


def _chance(axis: Any, chance: float) -> None:
    axis.axhline(chance, color="black", linestyle=":", linewidth=1.2, label="chance")


def _pages(rows: list[dict]) -> dict[str, list[dict]]:
    """The rows of each picture by the end of its name."""
    if len({r["task"] for r in rows}) <= PANELS:
        return {"": rows}
    groups = dict.fromkeys(r["group"] for r in rows)
    return {f"_{group}": [r for r in rows if r["group"] == group] for group in groups}


def _lengths(row: dict, rows: list[dict]) -> bool:
    """Whether a row's task stands at several lengths."""
    return bool(row.get("further_chance")) or len({r["length"] for r in rows if r["task"] == row["task"]}) > 1


def _by_length(rows: list[dict]) -> dict[int, list[float]]:
    """A cell's errors of one task: by the length trained at, or by the length that one network was tested at."""
    if not rows[-1].get("further_chance"):
        return {r["length"]: r["settings"][r["best"]]["final_error"] for r in rows}
    longest = rows[-1]
    best = longest["settings"][longest["best"]]
    errors = {longest["length"]: best["final_error"]} | {int(n): e for n, e in best["further"].items()}
    return dict(sorted(errors.items()))


def _accuracy(plt: Any, rows: list[dict], path: Path) -> str:
    names = list(dict.fromkeys(r["task"] for r in rows))
    figure, axes = _panels(plt, len(names))
    for axis, task in zip(axes, names, strict=True):
        own = sorted((r for r in rows if r["task"] == task), key=lambda r: r["length"])
        lengths: set[int] = set()
        for cell in dict.fromkeys(r["cell"] for r in own):
            errors = _by_length([r for r in own if r["cell"] == cell])
            lengths |= errors.keys()
            style = {"color": COLOURS[cell], "marker": MARKERS[cell], "label": cell}
            axis.plot(list(errors), [np.median(e) for e in errors.values()], **style)
            low, high = map(min, errors.values()), map(max, errors.values())
            axis.fill_between(list(errors), list(low), list(high), color=COLOURS[cell], alpha=0.2)
        further = own[-1].get("further_chance")
        chance = own[-1]["chance"]
        _chance(axis, chance)
        if further:
            axis.axvspan(0.5 * min(lengths), own[-1]["length"], color="black", alpha=0.06, zorder=0)
        axis.set_xscale("log")
        axis.set_xlim(0.8 * min(lengths), 1.25 * max(lengths))
        ticks = sorted(lengths)
        axis.set_xticks(ticks, [f"{n:,}" for n in ticks], rotation=45 * (len(ticks) > 4))
        axis.minorticks_off()
        axis.set_ylim(bottom=0)
        axis.set_title(f"{task} (control)" if own[-1].get("control") else task)
        axis.set_xlabel("tested at, steps; trained in the grey" if further else "sequence length, steps")
        axis.set_ylabel(own[0]["figure"])
    _legend(figure, axes)
    _save(plt, figure, path)
    return "Test error against length, best setting of each cell: median and range over seeds."


def _legend(figure: Any, axes: list) -> None:
    """One legend for all panels, each name once."""
    named = {name: handle for axis in axes for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    named |= {"chance": named.pop("chance")}  # last
    ncols = min(len(named), 3 * min(len(axes), 3))
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=ncols)


def _curves(plt: Any, rows: list[dict], path: Path) -> str:
    longest = {r["task"]: max(x["length"] for x in rows if x["task"] == r["task"]) for r in rows}
    figure, axes = _panels(plt, len(longest))
    for axis, (task, length) in zip(axes, longest.items(), strict=True):
        own = [r for r in rows if r["task"] == task and r["length"] == length]
        for row in own:
            error = np.asarray(row["settings"][row["best"]]["error"])
            seen = (np.arange(error.shape[1]) + 1) * row["period"] * row["batch"] / 1000
            colour = COLOURS[row["cell"]]
            axis.plot(seen, np.median(error, 0), color=colour, label=row["cell"])
            axis.fill_between(seen, error.min(0), error.max(0), color=colour, alpha=0.2)
            axis.plot(seen[-1], np.median(error[:, -1]), color=colour, marker=MARKERS[row["cell"]], markersize=6)
        _chance(axis, own[0]["chance"])
        axis.set_ylim(0, min(axis.get_ylim()[1], 2 * own[0]["chance"]))  # what the first steps do may be much higher
        axis.set_title(f"{task}, {length} steps")
        axis.set_xlabel("training sequences seen, thousands")
        axis.set_ylabel(own[0]["figure"])
    _legend(figure, axes)
    _save(plt, figure, path)
    return (
        "Validation error while training, best setting of each cell: median and range over seeds. "
        "A curve ends, at its mark, where all seeds are solved or the budget is spent."
    )
