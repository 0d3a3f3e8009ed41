"""The pictures of `gradient_flow`, each of one message."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

from experiments.report import figure
from experiments.runs import Runs

RED, ORANGE, GREY, BLUE, GREEN, VIOLET = "#b5362c", "#d1701c", "#6b6b6b", "#0b5fa5", "#2c7d4f", "#6f4aa0"
FLOOR = 1e-16
"""Of all logarithmic axes: what has vanished further is not shown."""


def of(runs: Runs, part: str, **values: Any) -> Runs:
    return [run for run in runs if run["part"] == part and all(run[key] == value for key, value in values.items())]


def line(axis: Any, norms: list[float], colour: Any, **options: Any) -> None:
    """Norms over the lag; what is 0 or past the floor is left out."""
    shown = [norm if norm > FLOOR else np.nan for norm in norms]
    axis.plot(range(1, len(norms) + 1), shown, color=colour, **options)


def products(runs: Runs) -> Any:
    """Over time and over depth: products of derivatives."""
    made, (*over_time, rates, depth) = figure(2, 2, size=(11, 8))
    kinds = list(dict.fromkeys(run["name"] for run in of(runs, "radius")))
    radii = [run["radius"] for run in of(runs, "radius", name=kinds[0])]
    shades = plt.get_cmap("plasma")(np.linspace(0, 0.85, len(radii)))
    for axis, name in zip(over_time, kinds, strict=False):
        for run, colour in zip(of(runs, "radius", name=name), shades, strict=True):
            line(axis, run["norms"], colour, linewidth=2, label=f"{run['radius']:g}")
        axis.set(title=f"Plain RNN, {name}", xlabel="lag: steps back from the last output")
        axis.set_xlim(0, 1.02 * len(of(runs, "radius")[0]["norms"]))
    over_time[1].legend(title="spectral radius of the\nrecurrent matrix", loc="center right")
    for run in of(runs, "depth"):
        colour = {"s": GREY, "t": BLUE, "R": ORANGE}[run["name"][0]]
        line(depth, run["norms"], colour, linestyle="--" if "residual" in run["name"] else "-", label=run["name"])
    layers = len(of(runs, "depth")[0]["norms"])
    depth.set(title=f"{layers} feed-forward layers", xlabel="layers back from the last")
    depth.legend(loc="center right", bbox_to_anchor=(1.0, 0.45))
    for axis in (*over_time, depth):
        axis.set(yscale="log", ylim=(FLOOR, 1e6), ylabel="gradient norm")
    for name, colour in zip(kinds, (BLUE, GREY, ORANGE), strict=True):
        own = [run["rate"] for run in of(runs, "radius", name=name)]
        rates.plot(radii, own, color=colour, marker="o")
        rates.annotate(name, (radii[-1], own[-1]), (6, 0), textcoords="offset points", va="center", color=colour)
    span = np.array([0, max(radii)])
    rates.plot(span, span, color="black", linestyle=":", linewidth=1.2, label="radius: the bound of tanh and ReLU")
    rates.plot(span, span / 4, color="black", linestyle="--", linewidth=1.2, label="radius / 4: that of sigmoid")
    rates.axhline(1, color=RED, linewidth=1, zorder=0)
    rates.annotate("explodes above 1,\nvanishes below", (0.03, 1.02), color=RED, va="bottom")
    rates.set(title="Plain RNN: at most radius times largest slope", ylabel="factor a step, fitted")
    rates.set(xlabel="spectral radius of the recurrent matrix", xlim=(0, 1.3 * radii[-1]), ylim=(0, None))
    rates.legend(loc="upper left")
    made.suptitle("A product of derivatives vanishes or explodes, over time and over depth", fontsize=13)
    return made


def training(runs: Runs) -> Any:
    """Every network before and after training."""
    own = of(runs, "training")
    names = list(dict.fromkeys(run["name"] for run in own))
    made, axes = figure(2, 4, size=(12.5, 6.6), sharex=True, sharey=True)
    for axis, name in zip(axes, names, strict=False):
        seeds = [run for run in own if run["name"] == name]
        for run in seeds:
            line(axis, run["before"]["norms"], GREY, linewidth=1)
            line(axis, run["after"]["norms"], BLUE if run["solved"] else RED, linewidth=1.5)
        axis.set(title=f"{name}: {sum(run['solved'] for run in seeds)} of {len(seeds)}", yscale="log")
        axis.set(ylim=(FLOOR, 1e6))
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    axes[len(names) - 4].tick_params(labelbottom=True)  # nothing stands below it
    key = [("before training", GREY), ("after, task solved", BLUE), ("after, task not solved", RED)]
    handles = [Line2D([], [], color=colour, label=name) for name, colour in key]
    axes[-1].legend(handles=handles, loc="center left", fontsize=11)
    made.supxlabel("lag: steps back from the answer; the bit stands at the end of each line")
    made.supylabel("gradient norm of the log odds")
    made.suptitle("A network learns to keep a bit if its gradient reaches back to it (counts: solved)", fontsize=13)
    return made


def paths(runs: Runs) -> Any:
    """The direct path beside the whole gradient."""
    own = of(runs, "path")
    scales = list(dict.fromkeys(run["scale"] for run in own))
    made, axes = figure(1, len(scales), size=(12.5, 4), sharey=True)
    for axis, scale in zip(axes, scales, strict=True):
        for run in of(runs, "path", scale=scale):
            colour = RED if run["name"] == "whole" else BLUE
            line(axis, run["norms"], colour, linewidth=2, label=f"{run['name']}: times {run['rate']:.2f} a step")
        axis.set(title=f"recurrent matrices times {scale:g}", yscale="log", ylim=(1e-12, 1e12))
        axis.legend(loc="upper left")
    axes[0].set_ylabel("norm of the derivative of $c_T$ by $c_t$")
    made.supxlabel("lag: steps back from the last memory")
    made.suptitle(
        "LSTM: the direct path, the product of forget gates, never explodes; the whole gradient can", fontsize=13
    )
    return made
