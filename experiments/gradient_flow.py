"""What gradients do on their way back: they vanish, they explode, and what holds them level.

    python -m experiments.gradient_flow --directory results/gradient_flow

Expected, as factors by which the gradient norm changes with a step of lag: tanh RNN 0.46 at spectral radius 0.5, 0.85
at 1, 1.08 at 2; sigmoid RNN 0.42 even at 2; ReLU with the identity the radius itself. Over depth: sigmoid layers 0.14,
the same with residual connections 1.00. LSTM with recurrent matrices 8 times as large: direct path 0.97, whole gradient
1.13. Networks of 5 that learn to keep a bit over 50 steps: LSTM and GRU with chrono biases 5 and 5, IRNN 4, LSTM with
forget bias 1 2, tanh RNN 1, GRU and LSTM with zero biases 0: but for the IRNN the order of the gradient that reaches
the bit before training. Under two minutes on 2 CPU cores.

Recurrent matrices are orthogonal ones times a number, so that the number is their spectral radius and their norm. Norms
are those of the gradient by the whole carry, medians over sequences and networks; a rate is fitted over the lags of
`fit`. Fresh networks read the sequences of the task. Layers start as PyTorch's do, uniform in +-1/sqrt(width).

References: Hochreiter 1991; Bengio, Simard, Frasconi 1994, https://doi.org/10.1109/72.279181; Pascanu, Mikolov, Bengio
2013, https://arxiv.org/abs/1211.5063; He, Zhang, Ren, Sun 2016, https://arxiv.org/abs/1512.03385
"""

import dataclasses
import functools
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
from experiments import gradient_flow_plots as plots
from experiments.report import count, spread, table, write
from experiments.runs import Runs, train
from lstm_jax.analysis.sensitivity import decay_rate, direct_path, last_output, sensitivity
from lstm_jax.inits import Chrono, KeepBias, Orthogonal, Uniform, ZeroBias
from lstm_jax.models import Linear, Network
from lstm_jax.tasks import LongLag, Task


@dataclasses.dataclass(frozen=True)
class Settings:
    hidden: int = 16  # units
    seeds: int = 5  # independent networks of each kind
    radii: tuple[float, ...] = (0.5, 0.9, 1.0, 1.1, 1.5, 2.0)  # of a plain RNN's recurrent matrix, orthogonal else
    lstm_scales: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)  # of an LSTM's recurrent matrices, orthogonal else
    lags: int = 100  # steps of a sequence for fresh networks
    fit: tuple[int, int] = (5, 30)  # the lags of a decay rate
    depth: int = 100  # feed-forward layers
    width: int = 64  # units of a layer
    distractors: int = 50  # between the bit and the question, in the task that is learned
    steps: int = 600  # training steps
    batch: int = 32  # fresh sequences a step
    learning_rate: float = 0.01  # at the beginning; it falls to nothing
    sequences: int = 16  # that norms are taken on
    tested: int = 500  # unseen sequences
    directory: Path = Path("results/gradient_flow")


def run(settings: Settings) -> str:
    """Measures, trains and writes all files; returns the report."""
    began = time.perf_counter()
    runs = by_radius(settings) + by_depth(settings) + by_path(settings) + by_training(settings)
    seconds = time.perf_counter() - began
    pictures = {
        "gradient_flow": plots.products(runs),
        "training": plots.training(runs),
        "direct_path": plots.paths(runs),
    }
    tables = {
        "Plain RNNs: factor a step by spectral radius": table(radius_rows(runs)),
        "Layers: factor a layer": table(
            [{"layers": run["name"], "factor": f"{run['rate']:.3f}"} for run in plots.of(runs, "depth")]
        ),
        "Before and after training": "![training](training.png)\n\n" + table(training_rows(runs)),
        "LSTM: factor a step of dc_T/dc_t": "![direct path](direct_path.png)\n\n" + table(path_rows(runs)),
    }
    caption = "What gradients do on their way back"
    return write(settings, "gradient_flow", runs, seconds, pictures, caption, tables)


def keep_one_bit(distractors: int) -> LongLag:
    """b, the bit as x or y, distractors out of four, the question e: all sequences of one length."""
    return LongLag(q=distractors, p=4, max_suffix=0)


def whole_norm(cell: Any, params: Any, xs: Any, loss: Any = last_output) -> Any:
    """The norm of the gradient by the whole carry, `[lag, sequences]`."""
    return functools.reduce(jnp.hypot, jax.tree.leaves(sensitivity(cell, params, xs, loss).carry))


def over_seeds(settings: Any, function: Any) -> Any:
    return jax.jit(jax.vmap(function))(jax.random.split(jax.random.key(0), settings.seeds))


def middle(norms: Any) -> np.ndarray:
    """The median over everything but the lag, the axis before the last."""
    return np.median(np.moveaxis(np.asarray(norms), -2, 0).reshape(norms.shape[-2], -1), axis=1)


def run_of(settings: Settings, norms: Any, **name: Any) -> dict[str, Any]:
    """What is kept of norms `[..., lag, sequences]`: their median over the lag, and its decay rate."""
    norms = middle(norms)
    return {**name, "rate": float(decay_rate(norms, *settings.fit)), "norms": [float(f"{norm:.4g}") for norm in norms]}


def by_radius(settings: Settings) -> Runs:
    """Fresh plain RNNs: the gradient of the last output over the lag."""
    task, runs = keep_one_bit(settings.lags - 3), []
    xs = task.sample(jax.random.key(1), settings.sequences).inputs
    size, radii = (task.input_size, settings.hidden), jnp.asarray(settings.radii, jnp.float32)
    rnns = {kind: lj.Elman(*size, activation=kind) for kind in ("tanh", "sigmoid")} | {"identity, ReLU": lj.IRNN(*size)}
    for name, cell in rnns.items():

        def norms(key: Any, cell: Any = cell) -> Any:
            fresh = cell.init(key)
            return lax.map(lambda r: whole_norm(cell, fresh._replace(w_h=r * fresh.w_h), xs), radii)

        found = over_seeds(settings, norms)
        for n, radius in enumerate(settings.radii):
            runs.append(run_of(settings, found[:, n], part="radius", name=name, radius=radius))
    return runs


def by_depth(settings: Settings) -> Runs:
    """Fresh feed-forward networks: the gradient of the last layer by the input of each, counted from the last."""
    xs, runs = jax.random.normal(jax.random.key(1), (settings.sequences, settings.width)), []
    shape, he = (settings.width, settings.width), 6**0.5  # times `Uniform`, whose variance is 1 / (3 width)
    kinds = {
        "sigmoid": (jax.nn.sigmoid, 1.0, False),
        "sigmoid, residual": (jax.nn.sigmoid, 1.0, True),
        "tanh": (jnp.tanh, 1.0, False),
        "tanh, residual": (jnp.tanh, 1.0, True),
        "ReLU, He's weights": (jax.nn.relu, he, False),
    }
    for name, (phi, gain, residual) in kinds.items():

        def norms(key: Any, phi: Any = phi, gain: float = gain, residual: bool = residual) -> Any:
            keys = jax.random.split(key, settings.depth)
            ws = gain * jax.vmap(lambda key: Uniform()(key, shape))(keys)

            def last(nudges: Any) -> Any:
                def layer(x: Any, at: tuple) -> tuple:
                    w, nudge = at
                    x = x + nudge
                    return phi(x @ w) + (x if residual else 0), None

                return lax.scan(layer, xs, (ws, nudges))[0].sum()

            by = jax.grad(last)(jnp.zeros((settings.depth, *xs.shape)))
            return jnp.linalg.norm(by[::-1], axis=-1)

        runs.append(run_of(settings, over_seeds(settings, norms), part="depth", name=name))
    return runs


def by_path(settings: Settings) -> Runs:
    """Fresh LSTMs with larger and larger recurrent weights: dc_T/dc_t whole, and through the forget gates alone."""
    task, runs = keep_one_bit(settings.lags - 3), []
    xs = task.sample(jax.random.key(1), settings.sequences).inputs
    for scale in settings.lstm_scales:
        cell = lj.LSTM(task.input_size, settings.hidden, w_h_init=Orthogonal(scale))

        def norms(key: Any, cell: Any = cell) -> tuple[Any, Any]:
            params = cell.init(key)
            whole = sensitivity(cell, params, xs, lambda carry, ys: carry.c).carry.c
            return whole, jnp.linalg.norm(direct_path(cell, params, xs), axis=-1)

        for path, found in zip(("whole", "direct"), over_seeds(settings, norms), strict=True):
            runs.append(run_of(settings, found, part="path", name=path, scale=scale))
    return runs


def learners(task: LongLag, hidden: int) -> dict[str, lj.Cell]:
    size, chrono = (task.input_size, hidden), Chrono(task.time)
    return {
        "RNN, tanh": lj.Elman(*size),
        "IRNN": lj.IRNN(*size),
        "GRU": lj.GRU(*size, b_init=ZeroBias()),
        "GRU, chrono": lj.GRU(*size, b_init=chrono),
        "LSTM, forget bias 0": lj.LSTM(*size, b_init=ZeroBias()),
        "LSTM, forget bias 1": lj.LSTM(*size, b_init=KeepBias(1.0)),
        "LSTM, chrono": lj.LSTM(*size, b_init=chrono),
    }


def by_training(settings: Settings) -> Runs:
    """Cells before and after they have learned to keep one bit, or have not."""
    task, runs = keep_one_bit(settings.distractors), []
    xs = task.sample(jax.random.key(1), settings.sequences).inputs
    for name, cell in learners(task, settings.hidden).items():
        network = Network(lj.Recurrent(cell), Linear(settings.hidden, task.output_size))

        def norms(params: Any, network: Network = network, cell: Any = cell) -> Any:
            def log_odds(carry: Any, ys: Any) -> Any:
                logits = network.readout(params.readout, ys[-1])
                return logits[..., 1] - logits[..., 0]

            return whole_norm(cell, params.layer.cell, xs, log_odds)

        def one(key: Any, network: Network = network, norms: Any = norms) -> tuple:
            fresh = network.init(key)
            params, error = learn(network, task, fresh, key, settings, settings.steps)
            return error, norms(fresh), norms(params)

        errors, before, after = over_seeds(settings, one)
        for seed, error in enumerate(errors.tolist()):
            own = {"part": "training", "name": name, "seed": seed, "error": error, "solved": error <= 0.01}
            for when, found in (("before", before[seed]), ("after", after[seed])):
                own |= {when: run_of(settings, found)}
            runs.append(own)
    return runs


def learn(network: Network, task: Task, params: Any, key: Any, settings: Any, steps: int) -> tuple[Any, Any]:
    """Returns the trained parameters and the error on unseen sequences."""

    def judged(params: Any, key: Any, count: int) -> tuple:
        sample = task.sample(key, count)
        return network(params, sample.inputs)[1], sample.targets, sample.mask

    def loss_fn(params: Any, _: None, carry: None, key: Any) -> tuple:
        return task.loss(*judged(params, key, settings.batch)), (carry, {})

    params = train(loss_fn, params, None, settings.learning_rate, key, steps)
    return params, task.error(*judged(params, jax.random.key(2), settings.tested))


def radius_rows(runs: Runs) -> list[dict[str, str]]:
    radii = dict.fromkeys(run["radius"] for run in plots.of(runs, "radius"))
    return [
        {"spectral radius": f"{radius:g}"}
        | {run["name"]: f"{run['rate']:.3f}" for run in plots.of(runs, "radius", radius=radius)}
        for radius in radii
    ]


def path_rows(runs: Runs) -> list[dict[str, str]]:
    scales = dict.fromkeys(run["scale"] for run in plots.of(runs, "path"))
    return [
        {"recurrent matrices times": f"{scale:g}"}
        | {run["name"]: f"{run['rate']:.3f}" for run in plots.of(runs, "path", scale=scale)}
        for scale in scales
    ]


def training_rows(runs: Runs) -> list[dict[str, str]]:
    rows = []
    for name in dict.fromkeys(run["name"] for run in plots.of(runs, "training")):
        own = plots.of(runs, "training", name=name)
        row = {"network": name, "solved": count([run["solved"] for run in own])}
        for when in ("before", "after"):
            row |= {f"factor a step {when}": spread([run[when]["rate"] for run in own], ".2f")}
            row |= {f"gradient at the first step {when}": f"{median(run[when]['norms'][-1] for run in own):.0e}"}
        rows.append(row)
    return rows


if __name__ == "__main__":
    print(run(tyro.cli(Settings)))
