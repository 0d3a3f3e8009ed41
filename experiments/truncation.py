"""What truncated gradients cost: errors cut off after a window of steps, and errors cut as the LSTM of 1997 did.

    python -m experiments.truncation --directory results/truncation

Expected: on temporal order an LSTM learns with windows of 15 steps or more (5 networks of 5) and not with 10 or fewer;
within 15 steps of an answer lies the second symbol alone, but what is learned from it holds for the first. A small bias
promises nothing: before training a window of 10 misses 0.11 of the tanh network's gradient (of its norm) and 0.40 of
the LSTM's, because the former fades, and the tanh network solves the task with 1 of 5 even with all steps. The
truncation of 1997 misses 0.6 to 0.9 of the gradient before training, at a cosine of 0.5 to 0.9, and yet learns: its own
cell takes 6,000 sequences for the embedded Reber grammar against 3,200 with the full gradient (medians; one network of
5 fails), and 5,600 against 6,400 for adding, which is no difference. The LSTM with a forget gate solves the grammar
with 3 networks of 5 against 5, and adding with 1 against 3. 3 minutes on 2 CPU cores, most of it compilation.

In the first part sequences are cut into pieces of a window for training, as is usual; the bias is that of errors which
each go back through exactly a window. Of the second part only the gradient is that of 1997: training is by Adam on
small batches, and a task is solved by the first test of many that is passed. The learning rate is the one of two with
the lower mean on validation sequences, of the error in the first part and of the sequences taken in the second.

References: Williams and Peng 1990, https://doi.org/10.1162/neco.1990.2.4.490; Hochreiter and Schmidhuber 1997,
https://doi.org/10.1162/neco.1997.9.8.1735; Gers, Schmidhuber, Cummins 2000,
https://doi.org/10.1162/089976600300015015
"""

import dataclasses
import time
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax import lax

import lstm_jax as lj
from experiments.report import by_variant, count, error_rows, figure, level, spread, table, write
from experiments.runs import Figures, Runs, every_run, train
from lstm_jax.analysis.truncation import Truncated, gradient_bias, truncated_scan
from lstm_jax.models import Linear, Network, NetworkParams
from lstm_jax.tasks import Adding1997, Batch, EmbeddedReber, Task, TemporalOrder
from lstm_jax.training import clipped_adam, init_state, make_step

ORDER = "temporal order"
WHEN = ("before", "after")  # training
COLOURS = {"LSTM": "#0b5fa5", "tanh": "#c1440e"}


@dataclasses.dataclass(frozen=True)
class Settings:
    hidden: int = 8  # units; of the 1997 cell, in blocks of two
    seeds: int = 5  # independent runs of each contender and learning rate, trained at once
    learning_rates: tuple[float, ...] = (0.01, 0.03)  # on temporal order they fall to nothing, else they stay
    tested: int = 256  # sequences for validation, and as many for the test
    sampled: int = 128  # sequences for a gradient's bias
    order_length: int = 30  # of temporal order, at least; its lags are then 11 to 17 steps and 23 to 29
    order_steps: int = 1000  # training steps
    order_batch: int = 16  # fresh sequences a step
    windows: tuple[int, ...] = (2, 5, 10, 15, 33)  # steps that errors go back, the last is the longest sequence
    adding_length: int = 30  # at least
    limit: int = 2000  # training steps to solve a task in
    batch: int = 8  # fresh sequences a step
    check: int = 50  # training steps from one test to the next
    directory: Path = Path("results/truncation")


def networks(input_size: int, hidden: int) -> dict[str, lj.Cell]:
    """What learns with windows."""
    return {"LSTM": lj.LSTM(input_size, hidden), "tanh": lj.Elman(input_size, hidden)}


def contenders(input_size: int, hidden: int) -> dict[str, lj.Cell]:
    """The LSTMs of 1997 and of 2000, each with the gradient that it had then and with the full one."""
    old, new = lj.MemoryBlockLSTM.of_1997(input_size, hidden, block_size=2), lj.LSTM(input_size, hidden)
    return {"1997, truncated": Truncated(old), "1997, full": old, "LSTM, truncated": Truncated(new), "LSTM, full": new}


def tasks_of_1997(settings: Settings) -> dict[str, Task]:
    return {
        "embedded Reber grammar": EmbeddedReber(),
        f"adding, {settings.adding_length} steps": Adding1997(settings.adding_length),
    }


def network_for(cell: lj.Cell, task: Task) -> Network:
    return Network(lj.Recurrent(cell), Linear(cell.output_shape[0], task.output_size))


def loss(network: Network, task: Task, params: NetworkParams, sample: Batch, **window: Any) -> Any:
    """The task's loss, whose gradient goes back through a window of steps where one is given."""
    cell: lj.Cell = network.layer.cell  # pyright: ignore[reportAttributeAccessIssue] -- Recurrent
    one = truncated_scan if window else lj.scan
    _, ys = one(cell, params.layer.cell, sample.inputs, **window)
    return task.loss(network.readout(params.readout, ys), sample.targets, sample.mask)


def on_windows(cell: lj.Cell, task: Task, window: int, settings: Settings) -> Figures:
    """A run with errors that go back at most `window` steps; that with the longest tells the bias of all windows."""
    network = network_for(cell, task)

    def biases(params: NetworkParams) -> dict[str, Any]:
        """Of the layer's gradient, with every error sent back through exactly a window."""
        sample = task.sample(jax.random.key(3), settings.sampled)

        def gradient(**window: Any) -> Any:
            def of_layer(layer: Any) -> Any:
                return loss(network, task, params._replace(layer=layer), sample, **window)

            return jax.grad(of_layer)(params.layer)

        exact = gradient()
        found = [gradient_bias(gradient(window=window, every=1), exact) for window in settings.windows[:-1]]
        return {"bias": jnp.stack([bias.error for bias in found]), "cosine": jnp.stack([bias.cosine for bias in found])}

    def run(rate: Any, key: Any) -> dict[str, Any]:
        first = network.init(key)

        def loss_fn(params: NetworkParams, _: None, carry: None, key: Any) -> tuple:
            return loss(network, task, params, task.sample(key, settings.order_batch), window=window), (carry, {})

        params = train(loss_fn, first, None, rate, key, settings.order_steps)
        (error, validation), (solved, _) = judged(network, task, params, settings.tested)
        figures = {"validation": jnp.fmin(validation, task.chance), "error": error, "solved": solved}
        if window == settings.windows[-1]:
            figures |= jax.vmap(biases)(jax.tree.map(lambda *pair: jnp.stack(pair), first, params))
        return figures

    return run


def until_solved(cell: lj.Cell, task: Task, settings: Settings) -> Figures:
    """A run to the limit, with a test every `check` steps; a truncated cell also tells its gradient's bias."""
    network = network_for(cell, task)

    def biases(params: NetworkParams) -> dict[str, Any]:
        sample = task.sample(jax.random.key(3), settings.sampled)
        full = network_for(cell.cell, task)  # pyright: ignore[reportAttributeAccessIssue] -- Truncated
        ours, exact = (
            jax.grad(lambda layer, net=net: loss(net, task, params._replace(layer=layer), sample))(params.layer)
            for net in (network, full)
        )
        bias = gradient_bias(ours, exact)
        return {"bias": bias.error, "cosine": bias.cosine}

    def run(rate: Any, key: Any) -> dict[str, Any]:
        def loss_fn(params: NetworkParams, _: None, carry: None, key: Any) -> tuple:
            return loss(network, task, params, task.sample(key, settings.batch)), (carry, {})

        optimizer = clipped_adam(rate)
        step = make_step(loss_fn, optimizer)

        def on(state: Any, _: None) -> tuple:
            state = lax.scan(step, state, length=settings.check)[0]
            return state, judged(network, task, state.params, settings.tested)

        first = network.init(key)
        checks = settings.limit // settings.check
        last, (errors, solved) = lax.scan(on, init_state(first, optimizer, key), length=checks)  # [checks, 2]

        passed = jnp.where(jnp.any(solved, 0), jnp.argmax(solved, 0) + 1, checks)
        sequences, validation = passed * settings.check * settings.batch  # seen until the first test that was passed
        figures = {"error": errors[-1, 0], "solved": jnp.any(solved[:, 0]), "sequences": sequences}
        figures["validation"] = validation / (checks * settings.check * settings.batch)
        if isinstance(cell, Truncated):
            figures |= jax.vmap(biases)(jax.tree.map(lambda *pair: jnp.stack(pair), first, last.params))
        return figures

    return run


def judged(network: Network, task: Task, params: NetworkParams, count: int) -> tuple:
    """Error, and whether the task is solved, on the sequences of the test and on those for validation, each `[2]`."""

    def on(key: Any) -> tuple:
        sample = task.sample(key, count)
        outputs = network(params, sample.inputs)[1]
        return tuple(judge(outputs, sample.targets, sample.mask) for judge in (task.error, task.solved))

    return jax.vmap(on)(jnp.stack([jax.random.key(1), jax.random.key(2)]))


def run(settings: Settings) -> str:
    """Trains all networks and writes all files; returns the report."""
    order = TemporalOrder(settings.order_length)
    began, runs = time.perf_counter(), []
    for name, cell in networks(order.input_size, settings.hidden).items():
        for window in settings.windows:
            one = on_windows(cell, order, window, settings)
            names = {"task": ORDER, "variant": f"{name}, {window}", "network": name, "window": window}
            runs += every_run(one, settings.learning_rates, settings.seeds, **names)
    for task_name, task in tasks_of_1997(settings).items():
        for name, cell in contenders(task.input_size, settings.hidden).items():
            one = until_solved(cell, task, settings)
            runs += every_run(one, settings.learning_rates, settings.seeds, task=task_name, variant=name)
    seconds = time.perf_counter() - began
    tables = {
        f"The bias of a window, on temporal order over {order.length} to {order.time} steps": table(bias_rows(runs)),
        f"Learning temporal order with a window (chance {order.chance:g})": table(error_rows(runs, ORDER)),
        **{f"Solving {name} with 1997's gradient": table(solving_rows(runs, name)) for name in tasks_of_1997(settings)},
    }
    caption = "What truncated gradients cost"
    return write(
        settings, "truncation", runs, seconds, {"truncation": plot(runs, settings, order.chance)}, caption, tables
    )


def bias_rows(runs: Runs) -> list[dict[str, str]]:
    """One row a network and window: how far the truncated gradient is from the full one, median and range of seeds."""
    rows = []
    for name, own in by_network(runs).items():
        *windows, longest = own
        for i, window in enumerate(windows):
            row = {"network": name, "window": str(window)}
            for k, when in enumerate(WHEN):
                row[f"relative error {when} training"] = spread([run["bias"][k][i] for run in own[longest]])
                row[f"cosine {when}"] = spread([run["cosine"][k][i] for run in own[longest]])
            rows.append(row)
    return rows


def solving_rows(runs: Runs, task: str) -> list[dict[str, str]]:
    """One row a contender: solved seeds, sequences until then, and the bias of a truncated gradient."""
    rows = []
    for variant, own in by_variant(runs, task).items():
        row = {
            "variant": variant,
            "learning rate": f"{own[0]['learning_rate']:g}",
            "solved": count([run["solved"] for run in own]),
            "sequences, median (range) of seeds, unsolved at the limit": spread([run["sequences"] for run in own], ","),
        }
        for k, when in enumerate(WHEN):
            bias = [spread([run[figure][k] for run in own]) for figure in ("bias", "cosine") if figure in own[0]]
            row[f"bias {when}: relative error; cosine"] = "; ".join(bias) or "0; 1"
        rows.append(row)
    return rows


def by_network(runs: Runs) -> dict[str, dict[int, Runs]]:
    """The runs on temporal order at the best learning rates, by network and window."""
    own = by_variant(runs, ORDER).values()
    names = dict.fromkeys(group[0]["network"] for group in own)
    return {name: {group[0]["window"]: group for group in own if group[0]["network"] == name} for name in names}


def plot(runs: Runs, settings: Settings, chance: float) -> Any:
    """Bias and error by window; sequences to solve each task of 1997."""
    made, (bias, error, *solving) = figure(2, 2, size=(11, 8))
    for name, own in by_network(runs).items():
        colour = COLOURS[name]
        windows = list(own)
        for k, style in enumerate(("--", "-")):
            values = np.array([run["bias"][k] for run in own[windows[-1]]])
            bias.plot(windows[:-1], values.T, style, color=colour, alpha=0.25, linewidth=0.8)
            bias.plot(windows[:-1], np.median(values, 0), style, color=colour, label=f"{name}, {WHEN[k]} training")
        errors = [[run["error"] for run in own[window]] for window in windows]
        shift = -0.25 if name == "LSTM" else 0.25
        for window, values in zip(windows, errors, strict=True):
            error.scatter([window + shift] * len(values), values, color=colour, s=18, alpha=0.6, linewidth=0)
        error.plot(windows, [median(values) for values in errors], color=colour, label=f"{name}, median")
    bias.set(xlabel="window, steps", ylabel="|truncated - full| / |full|", yscale="log", ylim=(5e-3, 3))
    bias.set_title("Bias of the gradient, temporal order: medians and seeds")
    bias.legend(loc="lower left")
    level(error, chance, "chance")
    error.set(xlabel="window, steps", ylabel="error on unseen sequences", ylim=(-0.02, None))
    error.set_title("What is learned with it, a dot a network")
    error.legend(loc=(0.55, 0.12))
    for axis, task in zip(solving, tasks_of_1997(settings), strict=True):
        for place, (_, own) in enumerate(by_variant(runs, task).items()):
            colour = ("black", "#0b5fa5")[place % 2]
            across = place + np.linspace(-0.2, 0.2, len(own))
            for x, run in zip(across, own, strict=True):
                axis.scatter(x, run["sequences"], color=colour, marker="o" if run["solved"] else "x", s=26, zorder=3)
            axis.hlines(median(run["sequences"] for run in own), place - 0.35, place + 0.35, color=colour, linewidth=2)
        names = list(by_variant(runs, task))
        axis.set_xticks(range(len(names)), [name.replace(", ", "\n") for name in names])
        axis.set(ylabel="training sequences until solved", ylim=(0, None))
        axis.set_title(f"{task[0].upper()}{task[1:]}; x: not solved")
    return made


if __name__ == "__main__":
    print(run(tyro.cli(Settings)))
