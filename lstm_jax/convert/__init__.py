"""Weights from other libraries and back: PyTorch, Keras, Equinox, Haiku, Flax linen and nnx, jax.experimental.rnn.

`from_X(target, source)` returns the parameters of `target`, a cell or a layer of ours; `to_X(target, params)` returns
the same weights under the names and in the shapes of X. Both read arrays and nothing else, keep the dtype (64 bits
where JAX has them enabled), and are traced and differentiated like any function of arrays, but for numbers that must be
zero: those `jit` cannot look at.
They keep what the network computes: where the other side has no place for something, or a module that is given has
options that make it another function, they raise ValueError.

For libraries whose modules are single cells the source of a `Bidirectional` is a pair (forward, backward), that of a
`Stack` a sequence with one source a layer, and what is written nests the same way. A learned first carry has no place
in any of them: it must be zero to be written, and is zero where it is read. An LSTM's states are (c, h) in Flax, (h, c)
elsewhere and `LSTMCarry(h, c)` here.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.cells import Elman
from lstm_jax.cells.call import params_like
from lstm_jax.convert.arrange import as_array, read, write
from lstm_jax.convert.nesting import from_state_dict, read_each, suffixes, to_state_dict, write_each
from lstm_jax.types import Array, Params

__all__ = [
    "from_cudnn",
    "from_equinox",
    "from_haiku",
    "from_keras",
    "from_linen",
    "from_nnx",
    "from_torch",
    "to_cudnn",
    "to_equinox",
    "to_haiku",
    "to_keras",
    "to_linen",
    "to_nnx",
    "to_torch",
]


def from_torch(target: Any, source: Any, *, prefix: str = "") -> Params:
    """Reads PyTorch's `nn.LSTM`, `nn.GRU` or `nn.RNN` for a layer, `nn.LSTMCell` and its like for a cell.

    `nn.LSTM(7, 8, num_layers=2, bidirectional=True)` is
    `Stack((Bidirectional(LSTM(7, 8)), Bidirectional(LSTM(16, 8))))`, with a `proj_size` layers of `ProjectedLSTM`.
    PyTorch's `batch_first` changes no weight: layers here are time-major, the Flax modules batch-first.

    Args:
      target: a cell, a `Recurrent`, a `Bidirectional`, or a `Stack` of either kind with one cell and hidden size.
      source: the module, or a state dict of arrays or tensors.
      prefix: what the names begin with in the state dict of a larger module, such as "encoder."; others are ignored.
    """
    module = source if hasattr(source, "state_dict") else None
    state = source.state_dict() if module is not None else source
    if not isinstance(state, Mapping):
        raise checks.fail("source", "a module of PyTorch or its state dict", checks.describe(source))
    if module is not None and prefix:
        module = module.get_submodule(prefix.rstrip("."))
    chosen = {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
    if prefix and not chosen:
        raise checks.fail("prefix", f"what some of {', '.join(state) or 'no names'} begin with", repr(prefix))
    return read_each(
        target, from_state_dict(target, chosen), lambda cell, arrays: read("PyTorch", cell, arrays, module)
    )


def to_torch(target: Any, params: Params) -> dict[str, Array]:
    """Returns a state dict of arrays; PyTorch's second bias is zero where it only adds to the first.

    `load_state_dict` wants tensors: `torch.tensor(np.asarray(array))` of each.
    """
    return to_state_dict(target, write_each(target, params, lambda cell, p: write("PyTorch", cell, p)))


def from_cudnn(target: Any, source: Any) -> Params:
    """Reads the flat vector of `jax.experimental.rnn.lstm`, for layers as PyTorch has them."""
    zeros = jax.tree.map(lambda p: jnp.zeros(p.shape), params_like(target, jnp.float32))
    like = _cudnn_arrays(target, zeros)
    sizes = [array.size for array in like]
    vector = as_array("source", source)
    if vector.shape != (sum(sizes),):
        raise checks.fail("source", f"shape [{sum(sizes)}]", checks.describe(vector))
    pieces = jnp.split(vector, list(itertools.accumulate(sizes[:-1])))
    arrays = [piece.reshape(array.shape) for piece, array in zip(pieces, like, strict=True)]
    state = dict(zip(_cudnn_names(target), arrays, strict=True))
    return read_each(target, from_state_dict(target, state), lambda cell, arrays: read(_CUDNN, cell, arrays))


def to_cudnn(target: Any, params: Params) -> Array:
    """Returns the flat vector of `jax.experimental.rnn.lstm`: all matrices layer by layer, then all biases."""
    return jnp.concatenate([array.ravel() for array in _cudnn_arrays(target, params)])


_CUDNN = "jax.experimental.rnn"


def _cudnn_names(target: Any) -> list[str]:
    places = jax.tree.leaves(suffixes(target))
    return [f"{kind}_{side}{place}" for kind in ("weight", "bias") for place in places for side in ("ih", "hh")]


def _cudnn_arrays(target: Any, params: Params) -> list[Array]:
    arrays = to_state_dict(target, write_each(target, params, lambda cell, p: write(_CUDNN, cell, p)))
    return [arrays[name] for name in _cudnn_names(target)]


def from_keras(target: Any, source: Any) -> Params:
    """Reads Keras 3's `LSTM`, `GRU` or `SimpleRNN`: the built layer, its `get_weights()`, or arrays by their names.

    The source of a `Bidirectional` may also be Keras's wrapper of that name.
    """

    def read_layer(cell: Any, layer: Any) -> Params:
        if hasattr(layer, "weights"):
            arrays = [(w.path.rpartition("/")[2], w) for w in layer.weights]
            if len(dict(arrays)) < len(arrays) or not arrays:
                found = ", ".join(w.path for w in layer.weights) or "a layer that is not built"
                raise checks.fail("source", "one recurrent layer of Keras in one direction", found)
            return read("Keras", cell, dict(arrays), getattr(layer, "cell", layer))
        if isinstance(layer, (list, tuple)):
            names = ("kernel", "recurrent_kernel", "bias")[: 2 + cell.use_bias]
            if len(layer) != len(names):
                raise checks.fail("source", f"{len(names)} arrays, {', '.join(names)}", f"{len(layer)}")
            layer = dict(zip(names, layer, strict=True))
        return read("Keras", cell, layer)

    return read_each(target, source, read_layer)


def to_keras(target: Any, params: Params) -> Any:
    """Returns a dict a cell, `kernel`, `recurrent_kernel` and `bias`: its values are what `set_weights` takes."""
    return write_each(target, params, lambda cell, p: write("Keras", cell, p))


def from_equinox(target: Any, source: Any) -> Params:
    """Reads `eqx.nn.LSTMCell` or `eqx.nn.GRUCell`: the module, or arrays by the names of its fields."""
    return read_each(target, source, lambda cell, s: read("Equinox", cell, s))


def to_equinox(target: Any, params: Params) -> Any:
    """Returns a dict a cell of the module's fields: `weight_ih`, `weight_hh`, `bias` and a GRU's `bias_n`."""
    return write_each(target, params, lambda cell, p: write("Equinox", cell, p))


def from_haiku(target: Any, source: Any, *, name: str | None = None) -> Params:
    """Reads `hk.LSTM`, `hk.GRU` (the reset before the product) or `hk.VanillaRNN` (ReLU) from Haiku's parameters.

    Haiku's LSTM adds 1 to the forget gate in its equation, and ours has it in the bias: that one number is rounded.

    `name` is the module's in a larger network, such as "net/~/lstm", by default "lstm", "gru" or "vanilla_rnn"; other
    modules are ignored. It serves every cell of `target`: of a Stack, read each of `layers` under its own name.
    """

    def read_module(cell: Any, source: Any) -> Params:
        prefix = name or _haiku_name(cell)
        found: dict[str, Any] = {}
        for module, arrays in source.items() if isinstance(source, Mapping) else ():
            if module == prefix:
                found.update(arrays)
            elif module.startswith(f"{prefix}/"):
                found[module.removeprefix(f"{prefix}/")] = arrays
        if not found:
            raise checks.fail("source", f"parameters of a module {prefix!r}", checks.describe(source))
        return read("Haiku", cell, found)

    return read_each(target, source, read_module)


def to_haiku(target: Any, params: Params, *, name: str | None = None, cell_type: str | None = None) -> Any:
    """Returns the parameters of a Haiku module called `name`, as in `from_haiku`.

    `cell_type="VanillaRNN(double_bias=False)"` leaves the second bias out.
    """

    def write_module(cell: Any, params: Params) -> dict[str, dict[str, Array]]:
        modules: dict[str, dict[str, Array]] = {}
        for path, array in write("Haiku", cell, params, cell_type).items():
            module, _, leaf = f"{name or _haiku_name(cell)}/{path}".rpartition("/")
            modules.setdefault(module, {})[leaf] = array
        return modules

    return write_each(target, params, write_module)


def _haiku_name(cell: Any) -> str:
    return "vanilla_rnn" if isinstance(cell, Elman) else type(cell).__name__.lower()


def from_linen(target: Any, source: Any) -> Params:
    """Reads the parameters of Flax linen's `LSTMCell`, `OptimizedLSTMCell`, `GRUCell`, `MGUCell` or `SimpleCell`.

    `source` is the cell's own part of `variables["params"]`, for instance `params["OptimizedLSTMCell_0"]`.
    """
    return read_each(target, source, lambda cell, s: read("Flax linen", cell, s))


def to_linen(target: Any, params: Params) -> Any:
    """Returns a nested dict a cell, as `from_linen` reads it."""
    return write_each(target, params, lambda cell, p: _nested(write("Flax linen", cell, p)))


def from_nnx(target: Any, source: Any) -> Params:
    """Reads Flax nnx's `OptimizedLSTMCell`, `LSTMCell`, `GRUCell` or `SimpleCell`: the module, or its state.

    A GRU with `hn_bias` (github.com/google/flax/pull/5595) is read as what it is.
    """
    return read_each(target, source, lambda cell, s: read("Flax nnx", cell, s, s))


def to_nnx(target: Any, params: Params, *, cell_type: str | None = None) -> Any:
    """Returns a nested dict a cell, for `nnx.update(module, ...)`.

    `cell_type` may name "OptimizedLSTMCell" (the default), "LSTMCell", "GRUCell" or "GRUCell with hn_bias"; into the
    plain `GRUCell`, which has no such bias, only a `b_hn` of zeros can be written.
    """
    return write_each(target, params, lambda cell, p: _nested(write("Flax nnx", cell, p, cell_type)))


def _nested(arrays: Mapping[str, Array]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for path, array in arrays.items():
        *modules, leaf = path.split("/")
        inner = out
        for module in modules:
            inner = inner.setdefault(module, {})
        inner[leaf] = array
    return out
