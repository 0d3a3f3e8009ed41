"""What trained networks keep of an input, and how: sensitivity, gates and linear probes, measured.

    python -m experiments.memory_traces --directory results/memory_traces

Expected: on adding, 50 steps, an LSTM of 8 units (mean squared error 0.0003; chance 0.167) is as sensitive to the first
marked pair at the end as at first, a tanh RNN (0.065) has lost it after ten steps; the LSTM's input gates open at the
marks and its forget gates stay open. Asked to keep a bit over 50 steps, an LSTM of 16 units shows it to a linear probe
of h and of c at every step, a tanh RNN, which does not learn the task, for eight; the symbol of the same step is read
off h (0.75 to 1), less and less off c (0.65 at step 10, 0.3 at 50; chance 0.25). A minute on 2 CPU cores.

Shown is the network of median error of 5. The unit whose gates are drawn is the one that lets the most of the pair in
and, by its forget gates, through to the end. A probe is a ridge regression of its own for each step, judged on unseen
sequences.

References: Graves 2012, Supervised sequence labelling with recurrent neural networks, chapter 4,
https://doi.org/10.1007/978-3-642-24797-2; Alain and Bengio 2016, https://arxiv.org/abs/1610.01644
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.colors
import numpy as np
import tyro

import lstm_jax as lj
from experiments.gradient_flow import keep_one_bit, learn, over_seeds
from experiments.report import figure, table, write
from experiments.runs import Runs
from lstm_jax.analysis.probe import fit_probe, probe_accuracy
from lstm_jax.analysis.sensitivity import input_sensitivity
from lstm_jax.analysis.trace import trace
from lstm_jax.inits import Chrono
from lstm_jax.models import Linear, Network
from lstm_jax.tasks import Adding, Task


@dataclasses.dataclass(frozen=True)
class Settings:
    seeds: int = 5  # independent networks; the one of median error is shown
    length: int = 50  # steps of adding
    units: int = 8  # that add
    adding_steps: int = 2000  # training steps
    distractors: int = 50  # between the bit and the question
    hidden: int = 16  # units that keep the bit
    steps: int = 600  # training steps
    batch: int = 32  # fresh sequences a step
    learning_rate: float = 0.01  # at the beginning; it falls to nothing
    tested: int = 500  # unseen sequences
    probed: int = 1000  # sequences that probes are fitted on, and as many to judge them
    directory: Path = Path("results/memory_traces")


RNN, LSTM = "RNN, tanh", "LSTM, chrono biases"
GATES = ("input", "forget", "output")
BLUE, RED, GREY = "#0b5fa5", "#b5362c", "#6b6b6b"


def run(settings: Settings) -> str:
    """Trains, measures and writes all files; returns the report."""
    began = time.perf_counter()
    adding = Adding(settings.length)
    adders = {name: of_adding(settings, adding, name) for name in (RNN, LSTM)}
    keepers = {name: of_keeping(settings, name) for name in (RNN, LSTM)}
    seconds = time.perf_counter() - began
    pictures = {
        "memory_traces": plot_sensitivity(adders),
        "gates": plot_gates(adders[LSTM]),
        "probes": plot_probes(keepers),
    }
    runs = [
        {"task": task, "name": name, "errors": found["errors"], "shown": found["shown"]}
        for task, all_found in (("adding", adders), ("one bit", keepers))
        for name, found in all_found.items()
    ]
    for own in runs[2:]:
        own |= {"probes": keepers[own["name"]]["probes"]}
    tables = {
        "Gates on adding": "![gates](gates.png)\n",
        "Linear probes": "![probes](probes.png)\n\n" + table(probe_rows(keepers)),
        "Errors of the networks": table(error_rows(runs)),
    }
    caption = "What trained networks keep of an input, and how"
    return write(settings, "memory_traces", runs, seconds, pictures, caption, tables)


def trained(settings: Settings, task: Task, name: str, units: int, steps: int) -> tuple[Any, Any, dict[str, Any]]:
    """Trains every seed; returns the cell, its parameters in the network of median error, and all errors."""
    make = {RNN: lj.Elman, LSTM: lj.LSTM}[name]
    cell = make(task.input_size, units, **({"b_init": Chrono(task.time)} if name == LSTM else {}))
    network = Network(lj.Recurrent(cell), Linear(units, task.output_size))
    params, errors = over_seeds(settings, lambda key: learn(network, task, network.init(key), key, settings, steps))
    shown = int(np.argsort(errors)[settings.seeds // 2])
    of_shown = jax.tree.map(lambda p: p[shown], params.layer.cell)
    return cell, of_shown, {"errors": np.maximum(errors, 0).tolist(), "shown": shown}


def of_adding(settings: Settings, task: Adding, name: str) -> dict[str, Any]:
    """The sequence of 32 that is marked first: how sensitive units are to that pair, and what their gates do."""
    cell, params, found = trained(settings, task, name, settings.units, settings.adding_steps)
    several = task.sample(jax.random.key(3), 32).inputs
    firsts = jnp.argmax(several[..., 1], 0)
    xs, first = several[:, jnp.argmin(firsts)], int(firsts.min())
    by, seen = jax.jit(lambda p: (input_sensitivity(cell, p, xs, at=first).carry, trace(cell, p, xs)))(params)
    numbers = {"xs": xs, "seen": seen, "by": {"h": by} if isinstance(by, jax.Array) else by._asdict()}
    return found | {"first": first} | jax.tree.map(np.asarray, numbers)


def of_keeping(settings: Settings, name: str) -> dict[str, Any]:
    """What linear probes, one a step, read off h and c: the bit, and the symbol of the same step."""
    task = keep_one_bit(settings.distractors)
    cell, params, found = trained(settings, task, name, settings.hidden, settings.steps)
    samples = task.sample(jax.random.key(3), 2 * settings.probed)
    labels = {"bit": (samples.targets[-1], 2), "symbol": (jnp.argmax(samples.inputs, -1), task.input_size)}
    seen = jax.jit(lambda p: trace(cell, p, samples.inputs))(params)
    fit, probes = jax.jit(fit_probe, static_argnums=2), {}
    for state in ("h", "c") if "c" in seen else ("h",):
        for label, (values, classes) in labels.items():
            states, held_out = jnp.split(seen[state], 2, axis=1)
            known, truths = jnp.split(values, 2, axis=-1)
            probe = fit(states, known, classes)
            probes[f"{label} from {state}"] = probe_accuracy(probe, held_out, truths).tolist()
    return found | {"probes": probes}


def probe_rows(keepers: dict[str, Any]) -> list[dict[str, str]]:
    """Accuracy of the probes at some steps, the first being that of the bit."""
    rows = []
    for name, found in keepers.items():
        for probe, accuracy in found["probes"].items():
            steps = np.unique(np.linspace(1, len(accuracy) - 2, 5).astype(int))
            rows.append({"network": name, "probe": probe} | {f"step {t}": f"{accuracy[t]:.2f}" for t in steps})
    return rows


def error_rows(runs: Runs) -> list[dict[str, str]]:
    return [
        {
            "task": own["task"],
            "network": own["name"],
            "errors": ", ".join(f"{error:.2g}" for error in own["errors"]),
            "shown": f"{own['errors'][own['shown']]:.2g}",
        }
        for own in runs
    ]


def keepers_first(found: dict[str, Any]) -> np.ndarray:
    """The units, first those whose gates let the most of the first marked pair in and through to the end."""
    i, f = found["seen"]["i"], found["seen"]["f"]
    return np.argsort(-i[found["first"]] * f[found["first"] + 1 :].prod(0))


def plot_sensitivity(adders: dict[str, Any]) -> Any:
    """Graves's picture, measured: circles shaded by the sensitivity to the first marked pair, and by open gates."""
    made, axes = figure(2, 1, size=(13, 6.6), height_ratios=(2.6, 7))
    for axis, (name, found) in zip(axes, adders.items(), strict=True):
        by, seen = found["by"], found["seen"]
        rows = [("input: the marks", found["xs"][:, 1], GREY)]
        if "c" in by:
            unit = keepers_first(found)[0]
            gates = [(f"{gate} gate of unit {unit}", seen[gate[0]][:, unit], BLUE) for gate in GATES]
            memory, output = ((f"{state} of unit {unit}", relative(by[state][:, unit]), "black") for state in "ch")
            rows += [*gates[:2], memory, gates[2], output]
        rows += [("h, all units", relative(np.linalg.norm(by["h"], axis=-1)), "black")]
        for height, (_, shades, colour) in enumerate(rows):
            rgba = np.array([matplotlib.colors.to_rgba(colour, alpha) for alpha in np.clip(shades, 0, 1)])
            axis.scatter(
                range(len(shades)), [height] * len(shades), s=110, facecolors=rgba, edgecolors="#999999", linewidths=0.7
            )
        axis.set_yticks(range(len(rows)), [label for label, *_ in rows])
        steps = len(found["xs"])
        axis.set_xticks(range(0, steps, 5))
        axis.set(xlim=(-0.8, steps - 0.2), ylim=(-0.6, len(rows) - 0.4))
        error = found["errors"][found["shown"]]
        axis.set_title(f"{name}: mean squared error {error:.2g}")
        axis.grid(False)
        axis.spines[["left", "bottom"]].set_visible(False)
        axis.tick_params(length=0)
    axes[-1].set_xlabel("step")
    made.suptitle(
        "An LSTM stays sensitive to the first marked pair, a plain RNN forgets it\n"
        "black: norm of the derivative by that pair, as a share of the row's largest; blue: how far a gate is open",
        fontsize=12,
    )
    return made


def relative(x: np.ndarray) -> np.ndarray:
    return x / max(x.max(), np.finfo(x.dtype).tiny)


def plot_gates(found: dict[str, Any]) -> Any:
    """Every unit's gates and memory over one sequence."""
    seen, marks = found["seen"], np.flatnonzero(found["xs"][:, 1])
    units, largest = keepers_first(found), np.abs(seen["c"]).max()
    panels = {name[0]: f"{name} gate" for name in GATES} | {"c": "memory c"}
    made, axes = figure(4, 1, size=(11, 9), sharex=True)
    for axis, (letter, name) in zip(axes, panels.items(), strict=True):
        low, colours = (-largest, "RdBu_r") if letter == "c" else (0, "viridis")
        high = largest if letter == "c" else 1
        image = axis.imshow(
            seen[letter][:, units].T, aspect="auto", cmap=colours, vmin=low, vmax=high, interpolation="nearest"
        )
        made.colorbar(image, ax=axis, pad=0.01)
        axis.set(ylabel="unit", title=name)
        axis.set_yticks(range(len(units)), units)
        axis.grid(False)
        axis.tick_params(length=0)
    axes[-1].set_xticks(marks, [f"step {t}: {found['xs'][t, 0]:.2f}" for t in marks])
    axes[-1].set_xlabel("the marked numbers, to be added")
    made.suptitle("Input gates open at the marks, forget gates stay open", fontsize=13)
    return made


def plot_probes(keepers: dict[str, Any]) -> Any:
    """Accuracy over time of what is kept and of what is current."""
    made, axes = figure(1, 2, size=(11, 4.4), sharey=True)
    styles = {(RNN, "h"): (RED, "-"), (LSTM, "h"): (BLUE, "--"), (LSTM, "c"): (BLUE, "-")}
    titles = {"bit": "The bit, shown at step 1", "symbol": "The symbol of the same step"}
    for axis, (label, title), chance in zip(axes, titles.items(), (1 / 2, 1 / 4), strict=True):
        for (name, state), (colour, dashes) in styles.items():
            accuracy = keepers[name]["probes"][f"{label} from {state}"]
            axis.plot(accuracy, color=colour, linestyle=dashes, linewidth=2, label=f"{state}: {name}")
        axis.axhline(chance, color="black", linestyle=":", linewidth=1.2)
        axis.annotate("chance", (0.02, chance + 0.01), xycoords=("axes fraction", "data"), va="bottom")
        axis.set(title=title, xlabel="step", ylim=(0, 1.04))
    axes[0].set_ylabel("accuracy on unseen sequences")
    axes[0].legend(loc="lower center")
    made.suptitle("Linear probes: c keeps the bit and drops the symbol; the RNN has lost the bit", fontsize=13)
    return made


if __name__ == "__main__":
    print(run(tyro.cli(Settings)))
