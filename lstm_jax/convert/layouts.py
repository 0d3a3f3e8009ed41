"""How other libraries lay out the weights of the cells that we share: data, and nothing else.

An entry is one array of theirs: its name, and what of ours stands in it. `"w_x:ifgo"` is the gates i, f, g, o of our
`w_x` side by side; several texts stand below each other. Where a gate comes twice, as in PyTorch's two biases, the
two places add up: reading takes the sum, writing puts all into the first. What of ours has no entry must be zero.

References: the sources of flax 0.12.8, keras 3.15, equinox 0.13, haiku 0.0.17 and jax 0.10; PyTorch's documentation of
`nn.LSTM`, `nn.GRU` and `nn.RNN`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """One array of theirs."""

    name: str
    """With slashes where their containers nest."""
    blocks: tuple[str, ...]
    turned: bool = False
    """Whether it is the transpose of ours, `[gates * hidden, rows]`."""
    stacked: bool = False
    """Whether its blocks, vectors all, are the rows of a matrix."""


class Layout(NamedTuple):
    """One cell of theirs."""

    entries: tuple[Entry, ...]
    bias_optional: bool = True
    """Whether its biases may be left out, as ours are by `use_bias=False`."""
    added: Mapping[str, float] = {}
    """What its equation adds to the bias of a gate."""
    negated: str = ""
    """Gates that open where ours close: sigmoid(-a) = 1 - sigmoid(a), so that all their weights change sign."""
    activations: tuple[str, ...] = ("tanh", "relu", "sigmoid")
    """Those of an Elman."""
    expected: Mapping[str, Any] = {}
    """Attributes that a module of theirs must have, functions by their names; "activation" is our cell's."""


def _row(name: str, *blocks: str) -> Entry:
    return Entry(name, blocks)


def _turned(name: str, *blocks: str) -> Entry:
    return Entry(name, blocks, turned=True)


_GATED = {"gate_fn": "sigmoid", "activation_fn": "tanh"}
_KERAS = {"activation": "tanh", "recurrent_activation": "sigmoid"}


def _keras(gates: str, bias: Entry) -> tuple[Entry, ...]:
    return (_row("kernel", f"w_x:{gates}"), _row("recurrent_kernel", f"w_h:{gates}"), bias)


def _torch(gates: str, recurrent_bias: str) -> tuple[Entry, ...]:
    return (
        _turned("weight_ih", f"w_x:{gates}"),
        _turned("weight_hh", f"w_h:{gates}"),
        _row("bias_ih", f"b:{gates}"),
        _row("bias_hh", recurrent_bias),
    )


def _per_gate(gates: str, bias: str, rename: Mapping[str, str] = {}) -> tuple[Entry, ...]:
    """Flax's way: a dense module for every gate and side, the gate's bias on the side named by `bias`."""
    entries = []
    for side, matrix in (("i", "w_x"), ("h", "w_h")):
        for gate in gates:
            module = rename.get(side + gate, side + gate)
            entries.append(_row(f"{module}/kernel", f"{matrix}:{gate}"))
            if side == bias:
                entries.append(_row(f"{module}/bias", f"b:{gate}"))
    return tuple(entries)


_LSTM, _GRU, _GRU_BEFORE, _ELMAN = "LSTM", "GRU", "GRU(reset_after=False)", "Elman"
_MGU, _PROJECTED = "MGU", "ProjectedLSTM"

_NNX_GRU = (_row("dense_i/kernel", "w_x:rzn"), _row("dense_h/kernel", "w_h:rzn"), _row("dense_i/bias", "b:rzn"))

LAYOUTS: dict[str, dict[str, dict[str, Layout]]] = {
    "PyTorch": {
        _LSTM: {"LSTM": Layout(_torch("ifgo", "b:ifgo"), expected={"proj_size": 0})},
        _PROJECTED: {"LSTM(proj_size)": Layout((*_torch("ifgo", "b:ifgo"), _turned("weight_hr", "w_p:p")))},
        _GRU: {"GRU": Layout(_torch("rzn", "b:rz b_hn:n"))},
        _ELMAN: {
            "RNN": Layout(_torch("h", "b:h"), activations=("tanh", "relu"), expected={"nonlinearity": "activation"})
        },
    },
    "Keras": {
        _LSTM: {"LSTM": Layout(_keras("ifgo", _row("bias", "b:ifgo")), expected=_KERAS)},
        _GRU: {
            "GRU": Layout(
                _keras("zrn", Entry("bias", ("b:zrn", "b:zr b_hn:n"), stacked=True)),
                expected={**_KERAS, "reset_after": True},
            )
        },
        _GRU_BEFORE: {
            "GRU(reset_after=False)": Layout(
                _keras("zrn", _row("bias", "b:zrn")), expected={**_KERAS, "reset_after": False}
            )
        },
        _ELMAN: {"SimpleRNN": Layout(_keras("h", _row("bias", "b:h")), expected={"activation": "activation"})},
    },
    "Equinox": {
        _LSTM: {
            "LSTMCell": Layout(
                (_turned("weight_ih", "w_x:ifgo"), _turned("weight_hh", "w_h:ifgo"), _row("bias", "b:ifgo"))
            )
        },
        _GRU: {
            "GRUCell": Layout(
                (
                    _turned("weight_ih", "w_x:rzn"),
                    _turned("weight_hh", "w_h:rzn"),
                    _row("bias", "b:rzn"),
                    _row("bias_n", "b_hn:n"),
                )
            )
        },
    },
    "Haiku": {
        _LSTM: {
            "LSTM": Layout(
                (_row("linear/w", "w_x:igfo", "w_h:igfo"), _row("linear/b", "b:igfo")),
                bias_optional=False,
                added={"f": 1.0},
            )
        },
        _GRU_BEFORE: {
            "GRU": Layout(
                (_row("w_i", "w_x:zrn"), _row("w_h", "w_h:zrn"), _row("b", "b:zrn")), bias_optional=False, negated="z"
            )
        },
        _ELMAN: {
            name: Layout(
                (
                    _row("linear/w", "w_x:h"),
                    _row("linear_1/w", "w_h:h"),
                    _row("linear/b", "b:h"),
                    *second,
                ),
                bias_optional=False,
                activations=("relu",),
            )
            for name, second in {
                "VanillaRNN": (_row("linear_1/b", "b:h"),),
                "VanillaRNN(double_bias=False)": (),
            }.items()
        },
    },
    "Flax linen": {
        _LSTM: {"LSTMCell": Layout(_per_gate("ifgo", bias="h"), bias_optional=False)},
        _GRU: {"GRUCell": Layout((*_per_gate("rzn", bias="i"), _row("hn/bias", "b_hn:n")), bias_optional=False)},
        _MGU: {"MGUCell": Layout((*_per_gate("fn", bias="i"), _row("hn/bias", "b_hn:n")), bias_optional=False)},
        _ELMAN: {"SimpleCell": Layout(_per_gate("h", bias="i", rename={"ih": "i", "hh": "h"}), bias_optional=False)},
    },
    "Flax nnx": {
        _LSTM: {
            "OptimizedLSTMCell": Layout(
                (
                    _row("dense_i/kernel", "w_x:ifgo"),
                    _row("dense_h/kernel", "w_h:ifgo"),
                    _row("dense_h/bias", "b:ifgo"),
                ),
                bias_optional=False,
                expected=_GATED,
            ),
            "LSTMCell": Layout(_per_gate("ifgo", bias="h", rename={"if": "if_"}), bias_optional=False, expected=_GATED),
        },
        _GRU: {
            "GRUCell": Layout(_NNX_GRU, bias_optional=False, expected=_GATED),
            # github.com/google/flax/pull/5595 adds the bias, as an array of its own.
            "GRUCell with hn_bias": Layout(
                (*_NNX_GRU, _row("hn_bias", "b_hn:n")), bias_optional=False, expected=_GATED
            ),
        },
        _ELMAN: {
            "SimpleCell": Layout(
                (_row("dense_i/kernel", "w_x:h"), _row("dense_h/kernel", "w_h:h"), _row("dense_i/bias", "b:h")),
                bias_optional=False,
                expected={"activation_fn": "activation", "residual": False},
            )
        },
    },
    "jax.experimental.rnn": {_LSTM: {"LSTM": Layout(_torch("ifgo", "b:ifgo"), bias_optional=False)}},
}
"""By library, by our cell, by their cell: the first is the one that is written where none is named."""
