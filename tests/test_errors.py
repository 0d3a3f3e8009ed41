"""A wrong shape, dtype or option raises one error: the argument in backticks, what was expected, what came."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax as lj
from lstm_jax import inits
from lstm_jax.models import MLP, Linear, Network
from tests.messages import check_message

KEY = jax.random.key(0)
OLD_KEY = jax.random.PRNGKey(0)
CELL = lj.LSTM(3, 4)
PARAMS = CELL.init(KEY)
CARRY = CELL.initial_carry(PARAMS, (2,))
XS = jnp.zeros((5, 2, 3))
X = XS[0]
GRU_PARAMS = lj.GRU(3, 4).init(KEY)
LAYER = lj.Recurrent(CELL)
LAYER_PARAMS = LAYER.init(KEY)
BOTH = lj.Bidirectional(CELL)
BOTH_PARAMS = BOTH.init(KEY)
STACK = lj.Stack((LAYER, lj.Recurrent(lj.GRU(4, 4))))
STACK_PARAMS = STACK.init(KEY)
NETWORK = Network(LAYER, Linear(4, 2))
MLP_PARAMS = Linear(4, 2).init(KEY)
BFLOAT_CARRY = jax.tree.map(lambda c: c.astype(jnp.int32), CARRY)
RESETS = jnp.zeros((5, 2), bool)


def scan(cell=CELL, params=PARAMS, xs=XS, carry=None, **options):
    return lj.scan(cell, params, xs, carry, **options)


# call, argument, what was expected, what came; ValueError unless the call says otherwise
CASES = {
    # cells
    "hidden_size zero": (lambda: lj.LSTM(3, 0), "hidden_size", "an integer >= 1", "0"),
    "hidden_size float": (lambda: lj.GRU(3, 4.0), "hidden_size", "an integer >= 1", "4.0"),
    "hidden_size bool": (lambda: lj.Elman(3, True), "hidden_size", "an integer >= 1", "True"),
    "input_size negative": (lambda: lj.LSTM(-1, 4), "input_size", "an integer >= 1", "-1"),
    "input_size string": (lambda: lj.LSTM("3", 4), "input_size", "an integer >= 1", "'3'"),
    "use_bias number": (lambda: lj.LSTM(3, 4, use_bias=1), "use_bias", "True or False", "1"),
    "reset_after string": (lambda: lj.GRU(3, 4, reset_after="no"), "reset_after", "True or False", "'no'"),
    "activation unknown": (
        lambda: lj.Elman(3, 4, activation="gelu"),
        "activation",
        "'tanh', 'relu', 'sigmoid'",
        "gelu",
    ),
    "w_h_init string": (lambda: lj.LSTM(3, 4, w_h_init="orthogonal"), "w_h_init", "an initialiser", "'orthogonal'"),
    "b_init number": (lambda: lj.LSTM(3, 4, b_init=1.0), "b_init", "an initialiser", "1.0"),
    "init old key": (lambda: CELL.init(OLD_KEY), "key", "a typed key from jax.random.key", "uint32[2]"),
    "init int key": (lambda: CELL.init(0), "key", "a typed key", "int 0"),
    "init many keys": (lambda: CELL.init(jax.random.split(KEY, 3)), "key", "one key", "(3,)"),
    "init int dtype": (lambda: CELL.init(KEY, jnp.int32), "dtype", "a floating-point dtype", "int32"),
    "init no dtype": (lambda: CELL.init(KEY, "wide"), "dtype", "a floating-point dtype", "'wide'"),
    "initial_carry params": (lambda: CELL.initial_carry(None), "params", "LSTMParams", "None"),
    "initial_carry batch": (lambda: CELL.initial_carry(PARAMS, 2), "batch_shape", "a tuple of integers", "2"),
    "initial_carry dtype": (lambda: CELL.initial_carry(PARAMS, (2,), int), "dtype", "a floating-point dtype", "int"),
    "call input size": (lambda: CELL(PARAMS, CARRY, jnp.zeros((2, 4))), "x", "[*batch, 3]", "float32[2, 4]"),
    "call list": (lambda: CELL(PARAMS, CARRY, [1.0, 2.0, 3.0]), "x", "an array", "[1.0, 2.0, 3.0]"),
    "call no params": (lambda: CELL(None, CARRY, X), "params", "LSTMParams(", "None"),
    "call dtype": (lambda: CELL(PARAMS, CARRY, X.astype(jnp.bfloat16)), "x", "parameters' dtype float32", "bfloat16"),
    "call int": (lambda: CELL(PARAMS, CARRY, X.astype(jnp.int32)), "x", "a floating-point dtype", "int32"),
    "call no carry": (lambda: CELL(PARAMS, None, X), "carry", "LSTMCarry(h=float32[2, 4], c=float32[2, 4])", "None"),
    "call carry batch": (lambda: CELL(PARAMS, CARRY, XS[0, 0]), "carry", "float32[4]", "float32[2, 4]"),
    # initialisers
    "chrono small": (lambda: inits.Chrono(2), "t_max", "a number > 2, in steps", "2"),
    "chrono infinite": (lambda: inits.Chrono(np.inf), "t_max", "a finite number", "inf"),
    "chrono string": (lambda: inits.Chrono("long"), "t_max", "a finite number", "'long'"),
    "keep nan": (lambda: inits.KeepBias(float("nan")), "value", "a finite number", "nan"),
    "orthogonal bool": (lambda: inits.Orthogonal(scale=True), "scale", "a finite number", "True"),
    "identity none": (lambda: inits.Identity(None), "scale", "a finite number", "None"),
    # scan
    "scan class": (lambda: scan(cell=lj.LSTM), "cell", "a cell, such as LSTM(input_size, hidden_size)", "LSTM"),
    "scan no cell": (lambda: scan(cell=None), "cell", "a cell", "None"),
    "scan layer": (lambda: scan(cell=LAYER), "cell", "a cell", "Recurrent("),
    "params None": (lambda: scan(params=None), "params", "w_x=float32[3, 16]", "None"),
    "params tuple": (lambda: scan(params=(PARAMS.w_x,)), "params", "LSTMParams(", "float32[3, 16]"),
    "params of GRU": (lambda: scan(params=GRU_PARAMS), "params", "w_h=float32[4, 16]", "GRUParams("),
    "params shape": (
        lambda: scan(params=PARAMS._replace(w_h=jnp.zeros((4, 12)))),
        "params",
        "float32[4, 16]",
        "float32[4, 12]",
    ),
    "params bias missing": (lambda: scan(params=PARAMS._replace(b=None)), "params", "b=float32[16]", "b=None"),
    "params mixed dtypes": (
        lambda: scan(params=PARAMS._replace(b=PARAMS.b.astype(jnp.bfloat16))),
        "params",
        "one dtype",
        "bfloat16 and float32",
    ),
    "xs list": (lambda: scan(xs=[[1.0, 2.0, 3.0]]), "xs", "an array", "[[1.0, 2.0, 3.0]]"),
    "xs list of arrays": (lambda: scan(xs=[X]), "xs", "an array", "float32[2, 3]"),
    "xs no time": (lambda: scan(xs=XS[0, 0]), "xs", "[time, *batch, 3]", "float32[3]"),
    "xs input size": (lambda: scan(xs=jnp.zeros((5, 2, 4))), "xs", "[time, *batch, 3]", "float32[5, 2, 4]"),
    "xs int": (lambda: scan(xs=jnp.zeros((5, 2, 3), jnp.int32)), "xs", "a floating-point dtype", "int32"),
    "xs dtype": (lambda: scan(xs=XS.astype(jnp.bfloat16)), "xs", "the parameters' dtype float32", "bfloat16"),
    "carry structure": (lambda: scan(carry=CARRY.h), "carry", "LSTMCarry(h=", "float32[2, 4]"),
    "carry plain tuple": (lambda: scan(carry=tuple(CARRY)), "carry", "LSTMCarry(h=", "(float32[2, 4]"),
    "carry list of one": (lambda: scan(carry=[CARRY.h]), "carry", "LSTMCarry(h=", "float32[2, 4]"),
    "carry batch": (lambda: scan(carry=jax.tree.map(lambda c: c[0], CARRY)), "carry", "float32[2, 4]", "float32[4]"),
    "carry int": (lambda: scan(carry=BFLOAT_CARRY), "carry", "a floating-point dtype", "int32"),
    "reset_carry": (lambda: scan(reset_carry=CARRY.h), "reset_carry", "LSTMCarry(h=", "float32[2, 4]"),
    "lengths list": (lambda: scan(lengths=[5, 2]), "lengths", "an array", "[5, 2]"),
    "lengths shape": (lambda: scan(lengths=jnp.array([5])), "lengths", "integers of shape [2]", "int32[1]"),
    "lengths float": (lambda: scan(lengths=jnp.array([5.0, 2.0])), "lengths", "integers of shape [2]", "float32[2]"),
    "lengths bool": (lambda: scan(lengths=jnp.array([True, False])), "lengths", "integers", "bool[2]"),
    "resets float": (lambda: scan(resets=jnp.zeros((5, 2))), "resets", "bool[5, 2]", "float32[5, 2]"),
    "resets batch-first": (lambda: scan(resets=RESETS.T), "resets", "bool[5, 2]", "bool[2, 5]"),
    "resets list": (lambda: scan(resets=[True] * 5), "resets", "an array", "[True"),
    "reverse number": (lambda: scan(reverse=1), "reverse", "True or False", "1"),
    "history string": (lambda: scan(return_history="yes"), "return_history", "True or False", "'yes'"),
    "chunk zero": (lambda: scan(chunk=0), "chunk", "an integer >= 1", "0"),
    "chunk float": (lambda: scan(chunk=2.0), "chunk", "an integer >= 1", "2.0"),
    "unroll zero": (lambda: scan(unroll=0), "unroll", "an integer >= 1", "0"),
    "unroll bool": (lambda: scan(unroll=True), "unroll", "an integer >= 1", "True"),
    "scan old key": (lambda: scan(key=OLD_KEY), "key", "a typed key from jax.random.key", "uint32[2]"),
    "implementation unknown": (lambda: scan(implementation="cuda"), "implementation", "'xla_vjp', 'xla'", "'cuda'"),
    "implementation number": (lambda: scan(implementation=1), "implementation", "'xla_vjp', 'xla'", "1"),
    # kernels
    "explain unknown": (lambda: lj.kernels.explain(CELL, implementation="npu"), "implementation", "one of", "'npu'"),
    "explain class": (lambda: lj.kernels.explain(lj.LSTM), "cell", "a cell, such as", "LSTM"),
    "explain list": (lambda: lj.kernels.explain(CELL, [1.0]), "xs", "an array", "[1.0]"),
    "explain old key": (lambda: lj.kernels.explain(CELL, key=OLD_KEY), "key", "a typed key", "uint32[2]"),
    # layers
    "recurrent class": (lambda: lj.Recurrent(lj.GRU), "cell", "a cell, such as", "GRU"),
    "recurrent layer": (lambda: lj.Recurrent(LAYER), "cell", "a cell, such as", "Recurrent("),
    "recurrent reverse": (lambda: lj.Recurrent(CELL, reverse="yes"), "reverse", "True or False", "'yes'"),
    "recurrent learned": (lambda: lj.Recurrent(CELL, learned_carry=0), "learned_carry", "True or False", "0"),
    "recurrent cell's params": (lambda: LAYER(PARAMS, XS), "params", "RecurrentParams", "LSTMParams("),
    "recurrent first carry": (lambda: LAYER.initial_carry(PARAMS), "params", "RecurrentParams", "LSTMParams("),
    "recurrent step params": (lambda: LAYER.step(PARAMS, CARRY, X), "params", "RecurrentParams", "LSTMParams("),
    "recurrent last": (lambda: LAYER.last(XS, jnp.array([1.5, 2.0])), "lengths", "integers of shape [2]", "float32[2]"),
    "recurrent last batch": (lambda: LAYER.last(XS, jnp.array([1])), "lengths", "integers of shape [2]", "int32[1]"),
    "bidirectional sizes": (lambda: lj.Bidirectional(CELL, lj.GRU(2, 4)), "backward_cell", "(3,)", "(2,)"),
    "bidirectional class": (lambda: lj.Bidirectional(lj.GRU), "cell", "a cell, such as", "GRU"),
    "bidirectional backward": (lambda: lj.Bidirectional(CELL, lj.GRU), "backward_cell", "a cell, such as", "GRU"),
    "bidirectional params": (lambda: BOTH(LAYER_PARAMS, XS), "params", "BidirectionalParams", "LSTMParams("),
    "bidirectional carry": (lambda: BOTH(BOTH_PARAMS, XS, CARRY.h), "carry", "BidirectionalCarry(", "float32[2, 4]"),
    "bidirectional key": (lambda: BOTH(BOTH_PARAMS, XS, key=OLD_KEY), "key", "a typed key", "uint32[2]"),
    "stack empty": (lambda: lj.Stack(()), "layers", "a tuple of at least one layer", "()"),
    "stack list": (lambda: lj.Stack([LAYER]), "layers", "a tuple of at least one layer", "[Recurrent("),
    "stack of cells": (lambda: lj.Stack((CELL,)), "layers[0]", "a layer, such as", "LSTM("),
    "stack of classes": (lambda: lj.Stack((lj.Recurrent,)), "layers[0]", "a layer, such as", "Recurrent"),
    "stack sizes": (lambda: lj.Stack((LAYER, LAYER)), "layers[1]", "input shape (4,)", "(3,)"),
    "stack residual": (
        lambda: lj.Stack((LAYER, lj.Recurrent(lj.GRU(4, 5))), residual=True),
        "layers[1]",
        "output shape (4,)",
        "(5,)",
    ),
    "stack dropout": (lambda: lj.Stack((LAYER,), dropout=1.0), "dropout", "a number in [0, 1)", "1.0"),
    "stack dropout string": (lambda: lj.Stack((LAYER,), dropout="half"), "dropout", "a number in [0, 1)", "'half'"),
    "stack residual string": (lambda: lj.Stack((LAYER,), residual="yes"), "residual", "True or False", "'yes'"),
    "stack params": (
        lambda: STACK(STACK_PARAMS[:1], XS),
        "params",
        "a tuple of 2, one entry a layer",
        "RecurrentParams",
    ),
    "stack carry": (lambda: STACK(STACK_PARAMS, XS, (None,)), "carry", "a tuple of 2, one entry a layer", "None"),
    "stack step": (lambda: STACK.step(STACK_PARAMS, None, X), "carry", "a tuple of 2, one entry a layer", "None"),
    "stack first carry": (lambda: STACK.initial_carry(None), "params", "a tuple of 2, one entry a layer", "None"),
    "stack init": (lambda: STACK.init(OLD_KEY), "key", "a typed key", "uint32[2]"),
    # models
    "mlp one size": (lambda: MLP((4,)), "sizes", "a tuple of at least two sizes", "(4,)"),
    "mlp zero": (lambda: MLP((4, 0)), "sizes", "an integer >= 1", "0"),
    "mlp activation": (lambda: MLP((4, 2), activation="elu"), "activation", "'tanh', 'relu', 'sigmoid'", "'elu'"),
    "mlp w_init": (lambda: MLP((4, 2), w_init="glorot"), "w_init", "an initialiser", "'glorot'"),
    "mlp key": (lambda: MLP((4, 2)).init(OLD_KEY), "key", "a typed key", "uint32[2]"),
    "mlp dtype": (lambda: MLP((4, 2)).init(KEY, int), "dtype", "a floating-point dtype", "int"),
    "mlp input": (lambda: Linear(4, 2)(MLP_PARAMS, XS), "x", "[..., 4]", "float32[5, 2, 3]"),
    "mlp int": (lambda: Linear(4, 2)(MLP_PARAMS, jnp.zeros(4, jnp.int32)), "x", "a floating-point dtype", "int32"),
    "mlp params": (lambda: Linear(4, 2)(None, jnp.zeros(4)), "params", "DenseParams(w=float32[4, 2]", "None"),
    "linear zero": (lambda: Linear(0, 2), "sizes", "an integer >= 1", "0"),
    "network at": (lambda: Network(LAYER, Linear(4, 2), at="first"), "at", "'last', 'every'", "'first'"),
    "network cell": (lambda: Network(CELL, Linear(4, 2)), "layer", "a layer, such as Recurrent(cell)", "LSTM("),
    "network sizes": (lambda: Network(LAYER, Linear(3, 2)), "readout", "input size (4,)", "(3,)"),
    "network shortcut": (lambda: Network(LAYER, Linear(7, 2), shortcut=1), "shortcut", "True or False", "1"),
    "shortcut at last": (lambda: Network(LAYER, Linear(7, 2), "last", True), "shortcut", 'at="every"', 'at="last"'),
    "shortcut size": (lambda: Network(LAYER, Linear(4, 2), shortcut=True), "readout", "input size (7,)", "(4,)"),
    "network readout": (lambda: Network(LAYER, 2), "readout", "an MLP", "2"),
    "network key": (lambda: NETWORK.init(0), "key", "a typed key", "int 0"),
    "network params": (lambda: NETWORK(LAYER_PARAMS, XS), "params", "NetworkParams", "RecurrentParams("),
}


@pytest.mark.parametrize("case", CASES)
def test_the_message_names_argument_expectation_and_what_came(case):
    check_message(*CASES[case])


UNSERVED = {
    "reset_after": (lambda: lj.scan(lj.GRU(3, 4, reset_after=False), GRU_PARAMS._replace(b_hn=None), XS,
                                    implementation="xla_vjp"), "reset_after=False"),
    "explain": (lambda: lj.kernels.explain(lj.GRU(3, 4, reset_after=False), implementation="xla_vjp"), "reset_after"),
    "layer": (lambda: lj.Recurrent(lj.GRU(3, 4, reset_after=False))(
        lj.RecurrentParams(GRU_PARAMS._replace(b_hn=None)), XS, implementation="xla_vjp"), "reset_after=False"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNSERVED)
def test_a_named_implementation_serves_or_says_why_not(case):
    call, property_ = UNSERVED[case]
    with pytest.raises(NotImplementedError, match=rf"`implementation`: 'xla_vjp' cannot serve.*{re.escape(property_)}"):
        call()


def test_the_same_errors_under_jit():
    with pytest.raises(ValueError, match=r"`lengths`: expected integers of shape \[2\] .*, got float32\[2\]"):
        jax.jit(lambda n: scan(lengths=n))(jnp.ones(2))
    with pytest.raises(ValueError, match=r"`carry`: expected LSTMCarry\(h=float32\[2, 4\].*, got float32\[2, 4\]"):
        jax.jit(lambda c: scan(carry=c))(CARRY.h)


OTHER_ROOMS = {
    "labels shape": (lambda: lj.losses.cross_entropy(jnp.zeros((2, 3)), jnp.zeros(3, int)), "labels", "(2,)", "(3,)"),
    "labels float": (lambda: lj.losses.cross_entropy(jnp.zeros((2, 3)), jnp.zeros(2)), "labels", "integer", "float32"),
    "logits int": (lambda: lj.losses.accuracy(jnp.zeros((2, 3), int), jnp.zeros(2, int)), "logits", "float", "int32"),
    "mask float": (lambda: lj.losses.mean_squared_error(X, X, jnp.ones(2)), "mask", "bool", "float32"),
    "targets shape": (lambda: lj.losses.mean_squared_error(X, XS), "targets", "(2, 3)", "(5, 2, 3)"),
    "perplexity int": (lambda: lj.losses.perplexity(jnp.array(3)), "loss", "float", "int32"),
    "task length": (lambda: lj.tasks.Adding(0), "length", "at least", "0"),
    "task symbols": (lambda: lj.tasks.TemporalOrder(100, symbols=4), "symbols", "2 or 3", "4"),
    "task batch": (lambda: lj.tasks.Adding(10).sample(KEY, 0), "batch_size", "at least 1", "0"),
    "task dtype": (lambda: lj.tasks.Adding(10).sample(KEY, 2, dtype=int), "dtype", "float", "int"),
    "batch size": (
        lambda: lj.data.batch_indices(KEY, 0, size=4, batch_size=5),
        "batch_size",
        "between 1 and `size`, 4",
        "5",
    ),
    "learning rate": (lambda: lj.training.clipped_adam(-1.0), "learning_rate", "a number", "-1.0"),
    "norm": (lambda: lj.training.clipped_adam(1e-3, max_norm=0.0), "max_norm", "a number", "0.0"),
    "momentum": (lambda: lj.training.clipped_sgd(1e-3, nesterov=True), "nesterov", "momentum", "None"),
    "optimizer": (lambda: lj.training.make_step(lambda *_: 0, "adam"), "optimizer", "GradientTransformation", "str"),
    "state key": (
        lambda: lj.training.init_state({}, lj.training.clipped_adam(1e-3), OLD_KEY),
        "key",
        "one typed key",
        "uint32",
    ),
    "checkpoint": (lambda: lj.training.latest_step(3), "directory", "a path", "3"),
}


@pytest.mark.parametrize("case", OTHER_ROOMS)
def test_other_rooms(case):
    call, name, expected, got = OTHER_ROOMS[case]
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(f"`{name}` must "), message
    before, _, after = message.rpartition("got ")
    assert expected in before and got in after, message
