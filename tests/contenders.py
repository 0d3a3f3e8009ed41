"""The one table CELLS x IMPLEMENTATIONS that drives the shared tests, and the one place for tolerances.

A new cell adds a row to CELLS with its equations in oracle.py; a new kernel enters by itself, from `kernels.TABLE`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax as lj
from lstm_jax.types import wide
from tests import oracle
from tests import oracle_cells as family
from tests import oracle_space as space

# The largest difference allowed, as a fraction of the array's largest entry.
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}


class Row(NamedTuple):
    make: Callable[[int, int], Any]
    """Builds the cell from its sizes."""
    equations: Callable
    """The step in oracle.py or in one of its neighbours."""
    for_cell: bool = False
    """Whether the step takes the cell first."""

    def step(self, cell: Any) -> Callable:
        return functools.partial(self.equations, cell) if self.for_cell else self.equations


BASE = {
    "lstm": Row(lj.LSTM, oracle.lstm),
    "lstm-no-bias": Row(functools.partial(lj.LSTM, use_bias=False), oracle.lstm),
    "gru": Row(lj.GRU, oracle.gru),
    "gru-no-bias": Row(functools.partial(lj.GRU, use_bias=False), oracle.gru),
    "gru-reset-before": Row(functools.partial(lj.GRU, reset_after=False), oracle.gru_reset_before),
    "elman-tanh": Row(functools.partial(lj.Elman, activation="tanh"), oracle.elman_tanh),
    "elman-relu": Row(functools.partial(lj.Elman, activation="relu"), oracle.elman_relu),
    "elman-sigmoid": Row(functools.partial(lj.Elman, activation="sigmoid"), oracle.elman_sigmoid),
}
"""The cells that have compiled kernels: every test runs them, the whole family those that say so."""

CELLS = BASE | {
    "peephole": Row(lj.PeepholeLSTM, family.peephole()),
    "peephole-nig": Row(functools.partial(lj.PeepholeLSTM, open_gates=("i",)), family.peephole("i")),
    "peephole-nfg-no-bias": Row(
        functools.partial(lj.PeepholeLSTM, open_gates=("f",), use_bias=False), family.peephole("f")
    ),
    "peephole-nog": Row(functools.partial(lj.PeepholeLSTM, open_gates=("o",)), family.peephole("o")),
    "peephole-niaf": Row(
        functools.partial(lj.PeepholeLSTM, input_activation="identity"), family.peephole(phi=lambda a: a)
    ),
    "peephole-noaf": Row(
        functools.partial(lj.PeepholeLSTM, output_activation="identity"), family.peephole(psi=lambda a: a)
    ),
    "peephole-cifg": Row(functools.partial(lj.PeepholeLSTM, coupled=True), family.peephole(coupled=True)),
    "np": Row(functools.partial(lj.PeepholeLSTM, peepholes=False), family.peephole()),
    "np-nig-no-bias": Row(
        functools.partial(lj.PeepholeLSTM, peepholes=False, open_gates=("i",), use_bias=False), family.peephole("i")
    ),
    "np-nfg-nog": Row(
        functools.partial(lj.PeepholeLSTM, peepholes=False, open_gates=("f", "o")), family.peephole("fo")
    ),
    "np-cifg": Row(functools.partial(lj.PeepholeLSTM, peepholes=False, coupled=True), family.peephole(coupled=True)),
    "full-gate": Row(lj.FullGateLSTM, family.full_gate),
    "projected": Row(functools.partial(lj.ProjectedLSTM, proj_size=2), family.projected),
    "memory-block": Row(
        lambda inputs, hidden: lj.MemoryBlockLSTM(inputs, 2 * hidden, block_size=2),
        family.memory_block(2, True, np.tanh, np.tanh),
    ),
    "lstm-1997": Row(
        lambda inputs, hidden: lj.MemoryBlockLSTM.of_1997(inputs, 2 * hidden, block_size=2),
        family.memory_block(2, False, lambda a: 4 * oracle.sigmoid(a) - 2, lambda a: 2 * oracle.sigmoid(a) - 1),
    ),
    "layer-norm-lstm": Row(lj.LayerNormLSTM, family.layer_norm_lstm(1e-5)),
    "layer-norm-lstm-no-bias": Row(
        functools.partial(lj.LayerNormLSTM, use_bias=False, epsilon=0.1), family.layer_norm_lstm(0.1)
    ),
    "layer-norm-gru": Row(lj.LayerNormGRU, family.layer_norm_gru(1e-5)),
    "janet": Row(lj.JANET, family.janet(1.0)),
    "multiplicative": Row(lj.MultiplicativeLSTM, family.multiplicative),
    "multiplicative-krause": Row(
        functools.partial(lj.MultiplicativeLSTM, gate_last=False), family.multiplicative_krause
    ),
    "slstm": Row(lj.SLSTM, family.slstm(1, "sigmoid")),
    "slstm-heads-exp": Row(
        lambda inputs, hidden: lj.SLSTM(inputs, 2 * hidden, heads=2, forget="exp"), family.slstm(2, "exp")
    ),
    "mgu": Row(lj.MGU, family.mgu),
    "mgu-reset-after": Row(functools.partial(lj.MGU, reset_after=True), family.mgu_flax),
    "mut1": Row(lj.MUT1, family.mut1),
    "mut2": Row(lj.MUT2, family.mut2),
    "mut3": Row(lj.MUT3, family.mut3),
    "light-gru": Row(lj.LightGRU, family.light_gru(1e-5)),
    "indrnn": Row(lj.IndRNN, family.indrnn(oracle.relu)),
    "scrn": Row(functools.partial(lj.SCRN, context_size=2, alpha=0.8), family.scrn(0.8)),
    "min-lstm": Row(lj.MinLSTM, family.min_lstm),
    "min-gru": Row(lj.MinGRU, family.min_gru),
    "lru": Row(functools.partial(lj.LRU, output_size=2), family.lru),
    "zoneout-lstm": Row(
        lambda inputs, hidden: lj.Zoneout(lj.LSTM(inputs, hidden), rates=(0.2, 0.4)),
        family.zoneout(oracle.lstm, (0.2, 0.4)),
    ),
    "zoneout-gru": Row(
        lambda inputs, hidden: lj.Zoneout(lj.GRU(inputs, hidden), rates=0.3), family.zoneout(oracle.gru, (0.3,))
    ),
    "variational-gru": Row(lambda inputs, hidden: lj.VariationalDropout(lj.GRU(inputs, hidden)), oracle.gru),
    "weight-drop-lstm": Row(lambda inputs, hidden: lj.WeightDrop(lj.LSTM(inputs, hidden)), oracle.lstm),
    "weight-drop-cifg": Row(
        lambda inputs, hidden: lj.WeightDrop(lj.PeepholeLSTM(inputs, hidden, peepholes=False, coupled=True)),
        family.peephole(coupled=True),
    ),
    **{
        f"conv-lstm-{n}d": Row(functools.partial(lj.ConvLSTM, (3, 2, 2)[:n], kernel_size=k), space.conv_lstm, True)
        for n, k in ((1, 3), (2, (2, 3)), (3, 2))
    },
    "conv-lstm-peepholes": Row(functools.partial(lj.ConvLSTM, (3, 2), peepholes=True), space.conv_lstm, True),
    "conv-gru": Row(functools.partial(lj.ConvGRU, (3, 2)), space.conv_gru, True),
    "ntm": Row(
        lambda inputs, hidden: lj.NTM(inputs, hidden, 2, memory_slots=4, memory_width=3, write_heads=2), space.ntm, True
    ),
}
CARRIES: dict[type, Callable] = {
    lj.SLSTM: lambda carry: carry._replace(n=jnp.exp(carry.n)),
    lj.NTM: lambda carry: carry._replace(
        read_weights=jax.nn.softmax(carry.read_weights), write_weights=jax.nn.softmax(carry.write_weights)
    ),
}
"""What random numbers become where not all of them make a carry."""
IMPLEMENTATIONS = tuple(lj.kernels.TABLE)


def serves(implementation: str, cell: Any, dtype: str = "float32") -> bool:
    """Whether an implementation takes every call of a cell: one that refuses resets has tests of its own."""
    return lj.kernels.refusal(implementation, cell, dtype, resets=True) is None


def keeps_history(implementation: str) -> bool:
    return lj.kernels.TABLE[implementation].history


def sharpest(implementation: str) -> str:
    """The most accurate dtype that an implementation serves."""
    dtypes = lj.kernels.TABLE[implementation].dtypes
    return "float64" if dtypes is None else dtypes[0]


def in_float64(arrays: Any) -> Any:
    """The same numbers, to the last bit, as NumPy float64."""
    return jax.tree.map(
        lambda x: (
            np.asarray(x.astype(jnp.float32) if x.dtype.itemsize == 2 else x).astype(np.float64)
            if jnp.issubdtype(x.dtype, jnp.floating)
            else x
        ),
        arrays,
    )


def contenders(*names: str, dtype: str = "float32") -> Any:
    """Parametrises a test over `name, implementation`: every pair of the table that serves `dtype`, or some cells."""
    return pytest.mark.parametrize(
        ("name", "implementation"),
        [(n, i) for n in names or CELLS for i in IMPLEMENTATIONS if serves(i, CELLS[n].make(3, 4), dtype)],
    )


class Arrays(NamedTuple):
    """The arrays of one call of scan."""

    params: Any
    xs: Any
    carry: Any = None
    reset_carry: Any = None
    lengths: Any = None
    resets: Any = None


SMOOTH = ("params", "xs", "carry", "reset_carry")


def random_like(tree: Any, seed: int, scale: float = 0.7) -> Any:
    """Normal numbers in the shapes and dtypes of a pytree: no bias stays at zero."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda s: jnp.asarray(scale * random.normal(size=s.shape), s.dtype), tree)


def random_params(module: Any, seed: int = 0, dtype: Any = jnp.float32) -> Any:
    """Random parameters of a cell, a layer or a network."""
    return random_like(jax.eval_shape(lambda: module.init(jax.random.key(0), dtype)), seed)


def draw(cell: Any, time: int = 5, batch: tuple[int, ...] = (3,), dtype: Any = jnp.float32, seed: int = 0) -> Arrays:
    """Every array of a call, with lengths from 0 to all and some resets."""
    random = np.random.default_rng(seed + 1)
    params = random_params(cell, seed, dtype)
    carry = jax.eval_shape(lambda: cell.initial_carry(params, batch))
    valid = CARRIES.get(type(cell), lambda carry: carry)
    lengths = random.integers(0, time + 1, batch)
    if lengths.size > 1:
        lengths.flat[0], lengths.flat[1] = 0, time
    return Arrays(
        params,
        random_like(jax.ShapeDtypeStruct((time, *batch, *cell.input_shape), dtype), seed + 2, scale=1.0),
        valid(random_like(carry, seed + 3)),
        valid(random_like(carry, seed + 4)),
        jnp.asarray(lengths, jnp.int32),
        jnp.asarray(random.random((time, *batch)) < 0.4),
    )


def weigh(tree: Any) -> Any:
    """A number that depends on every entry of a pytree, each with a weight of its own; float32 or better."""
    total: Any = 0.0
    for number, leaf in enumerate(jax.tree.leaves(tree)):
        weights = np.cos(1.3 * np.arange(leaf.size) + number).reshape(leaf.shape)
        if isinstance(leaf, np.ndarray):
            total = total + np.sum(leaf * weights)
        else:
            dtype = wide(leaf.dtype)
            total = total + jnp.sum(leaf.astype(dtype) * jnp.asarray(weights, dtype)).astype(jnp.result_type(float))
    return total


def run(cell: Any, arrays: Arrays, **options: Any) -> Any:
    params, xs, carry, reset_carry, lengths, resets = arrays
    return lj.scan(cell, params, xs, carry, lengths=lengths, resets=resets, reset_carry=reset_carry, **options)


def evaluate(cell: Any, arrays: Arrays, **options: Any) -> tuple[Any, dict]:
    """Returns what scan returns and the gradients of its weighted sum by params, xs, carry and reset_carry, jitted."""
    return _evaluate(cell, tuple(sorted(options.items())), arrays)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _evaluate(cell: Any, options: tuple, arrays: Arrays) -> tuple[Any, dict]:
    def loss(smooth: dict) -> Any:
        out = run(cell, arrays._replace(**smooth), **dict(options))
        return weigh(out), out

    smooth = {name: getattr(arrays, name) for name in SMOOTH}
    (_, out), gradients = jax.value_and_grad(loss, has_aux=True)(smooth)
    return out, gradients


def oracle_scan(name: str, arrays: Arrays, reverse: bool = False, cell: Any = None) -> tuple[list, np.ndarray, list]:
    """The same call by the float64 loop: last carry as leaves, outputs, history as leaves."""
    params, xs = jax.tree.map(np.asarray, in_float64(arrays[:2]))
    cell = CELLS[name].make(xs.shape[-1], params.w_h.shape[0]) if cell is None else cell
    batch = xs.shape[1 : xs.ndim - len(cell.input_shape)]
    real = jax.tree.map(lambda p: np.real(p).astype(jnp.result_type(float)), params)
    given = [cell.initial_carry(real, batch) if c is None else c for c in arrays[2:4]]
    start, first = ([np.asarray(x) for x in jax.tree.leaves(in_float64(c))] for c in given)
    masks = arrays.lengths, arrays.resets, reverse
    ranks = cell.output_shape, len(cell.input_shape)
    return oracle.scan(CELLS[name].step(cell), params, xs, start, first, *masks, *ranks)


def close(actual: Any, expected: Any, dtype: Any = None, scale: float = 1.0) -> None:
    """Every array of `actual` within the tolerance of its dtype (or of the one given) of that of `expected`."""
    assert len(jax.tree.leaves(actual)) == len(jax.tree.leaves(expected))
    for (path, a), e in zip(jax.tree.leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        allowed = scale * TOLERANCE[str(jnp.dtype(a.dtype if dtype is None else dtype))]
        a, e = (np.asarray(x).astype(np.float64) for x in (a, e))
        assert a.shape == e.shape, f"{jax.tree_util.keystr(path)}: {a.shape} beside {e.shape}"
        assert np.isfinite(a).all() and np.isfinite(e).all(), jax.tree_util.keystr(path)
        if a.size:
            error, largest = np.abs(a - e).max(), np.abs(e).max()
            assert error <= allowed * max(largest, 1e-3), f"{jax.tree_util.keystr(path)}: {error} of {largest}"


def same(actual: Any, expected: Any) -> None:
    """Equal to the bit."""
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == e.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(e))


def cut(tree: Any, where: Any) -> Any:
    """Indexes every leaf."""
    return jax.tree.map(lambda x: x[where], tree)
