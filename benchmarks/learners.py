"""Who learns in the suite: cells with their initialisations and learning rates."""

from collections.abc import Callable
from typing import Any, NamedTuple

import lstm_jax as lj
from lstm_jax.models import MLP, Linear
from lstm_jax.types import Layer

RATES = (1e-2, 3e-3, 1e-3)


class Learner(NamedTuple):
    """A cell as the suite trains it."""

    layers: Callable[[int, int, float], dict[str, Layer]]
    """`(input_size, hidden_size, t_max)` -> a layer for each initialisation; they differ in initialisers alone."""
    rates: tuple[float, ...] | None = None
    """Learning rates; None takes the task's."""
    readout: Callable[[int, int], MLP] = Linear
    shortcut: bool = False
    """Whether the readout takes the inputs too."""


def _gated(make: Callable, default: str) -> Learner:
    def layers(inputs: int, hidden: int, t_max: float) -> dict[str, Layer]:
        chrono = make(inputs, hidden, b_init=lj.inits.Chrono(t_max))
        return {"chrono": lj.Recurrent(chrono), default: lj.Recurrent(make(inputs, hidden))}

    return Learner(layers)


def _vanilla(inputs: int, hidden: int, t_max: float) -> dict[str, Layer]:
    identity = lj.Elman(inputs, hidden, w_h_init=lj.inits.Identity())
    return {"orthogonal": lj.Recurrent(lj.Elman(inputs, hidden)), "identity": lj.Recurrent(identity)}


def _two_layers(make: Callable) -> Learner:
    def layers(inputs: int, hidden: int, t_max: float) -> dict[str, Layer]:
        return {"default": lj.Stack((lj.Recurrent(make(inputs, hidden)), lj.Recurrent(make(hidden, hidden))))}

    return Learner(layers, RATES, lambda inputs, outputs: MLP((inputs, inputs, outputs)))


def _without_forget_gate(inputs: int, hidden: int, **options: Any) -> lj.Cell:
    return lj.PeepholeLSTM(inputs, hidden, peepholes=False, open_gates=("f",), **options)


def _carousel(inputs: int, hidden: int, **options: Any) -> lj.Cell:
    still = {"peepholes": False, "open_gates": ("f", "o"), "output_activation": "identity"}
    return lj.PeepholeLSTM(inputs, hidden, **still, **options)


CELLS = {
    "LSTM": _gated(lj.LSTM, "forget bias 1"),
    "GRU": _gated(lj.GRU, "zero bias"),
    "RNN": Learner(_vanilla, RATES),
    "NFG": _gated(_without_forget_gate, "zero bias"),
    "CEC": _gated(_carousel, "zero bias")._replace(shortcut=True),
    "PeepholeLSTM": _gated(lj.PeepholeLSTM, "forget bias 1"),
    "MinGRU": _two_layers(lj.MinGRU),
    "LRU": _two_layers(lambda inputs, hidden: lj.LRU(inputs, hidden, output_size=hidden)),
}
"""NFG is the LSTM of 1997, without forget gate. CEC, the constant error carousel alone, is that paper's network for its
tasks 2a and 2b: an input gate and no other, nothing that squashes what is read, connections from inputs to outputs
(there it is one cell, with a logistic g, added once the error has stopped falling; here all are there from the start).
MinGRU and LRU, linear in their state, run with two layers and a readout with a hidden layer, since their papers stack
them and leave the rest to what stands between."""
USUAL = ("LSTM", "GRU", "RNN")
LINEAR = (*USUAL, "MinGRU", "LRU")
TIMING = (*USUAL, "PeepholeLSTM")
LAGS = (*USUAL, "CEC")
