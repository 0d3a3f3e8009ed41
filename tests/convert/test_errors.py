"""What another library has no place for, and what is not what it should be, is an error that says so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax as lj
from lstm_jax import convert
from tests.contenders import random_params
from tests.convert.peers import HIDDEN, INPUT

WRONG = {
    "a cell that the library lacks": (
        lambda: convert.from_equinox(lj.Elman(3, 4), {}),
        r"`target`: expected a cell that Equinox has too, got Elman\(",
    ),
    "another activation": (
        lambda: convert.to_haiku(lj.Elman(3, 4), random_params(lj.Elman(3, 4))),
        r"`target`: expected a cell that Haiku has too, got Elman\(",
    ),
    "a subclass with equations of its own": (
        lambda: convert.from_linen(type("Mine", (lj.LSTM,), {})(3, 4), {}),
        r"`target`: expected a cell that Flax linen has too, got Mine\(",
    ),
    "no cell": (lambda: convert.from_linen(lj.LSTM, {}), r"`target`: expected a cell, such as LSTM"),
    "names that are not there": (
        lambda: convert.from_keras(lj.LSTM(3, 4), {"kernel": jnp.zeros((3, 16))}),
        r"`source`: expected kernel, recurrent_kernel, bias \(Keras's LSTM\), got kernel",
    ),
    "names too many": (
        lambda: convert.from_keras(
            lj.LSTM(3, 4, use_bias=False),
            {"kernel": jnp.zeros((3, 16)), "recurrent_kernel": jnp.zeros((4, 16)), "bias": jnp.zeros(16)},
        ),
        r"`source`: expected kernel, recurrent_kernel \(Keras's LSTM\), got also bias",
    ),
    "a wrong shape": (
        lambda: convert.from_equinox(
            lj.LSTM(3, 4),
            {"weight_ih": jnp.zeros((3, 16)), "weight_hh": jnp.zeros((16, 4)), "bias": jnp.zeros(16)},
        ),
        r"`source: weight_ih`: expected shape \[16, 3\], got float32\[3, 16\]",
    ),
    "no array": (
        lambda: convert.from_equinox(lj.LSTM(3, 4), {"weight_ih": "a", "weight_hh": "b", "bias": "c"}),
        r"`source: weight_ih`: expected an array, got <class 'str'>",
    ),
    "integers": (
        lambda: convert.from_cudnn(lj.Recurrent(lj.LSTM(3, 4)), np.zeros(144, np.int32)),
        r"`source`: expected a floating-point dtype, got dtype\('int32'\)",
    ),
    "biases that cannot be": (
        lambda: convert.from_linen(
            lj.Elman(3, 4, use_bias=False),
            {"i": {"kernel": jnp.zeros((3, 4)), "bias": jnp.ones(4)}, "h": {"kernel": jnp.zeros((4, 4))}},
        ),
        r"`source: b`: expected zeros, for a cell without biases, got other numbers",
    ),
    "an unknown cell of theirs": (
        lambda: convert.to_nnx(lj.LSTM(3, 4), random_params(lj.LSTM(3, 4)), cell_type="LSTM"),
        r"`cell_type`: expected one of 'OptimizedLSTMCell', 'LSTMCell', got 'LSTM'",
    ),
    "parameters of another cell": (
        lambda: convert.to_torch(lj.LSTM(3, 4), random_params(lj.LSTM(3, 5))),
        r"`params`: expected LSTMParams\(",
    ),
    "one source for two directions": (
        lambda: convert.from_linen(lj.Bidirectional(lj.LSTM(3, 4)), {}),
        r"`source`: expected a pair of sources, forward and backward, 2 in all, got",
    ),
    "a layer that PyTorch has not": (
        lambda: convert.from_torch(lj.Recurrent(lj.LSTM(3, 4), reverse=True), {}),
        r"`target`: expected layers that run forward or both ways, got Recurrent\(",
    ),
    "residual connections": (
        lambda: convert.from_torch(lj.Stack((lj.Recurrent(lj.LSTM(4, 4)),) * 2, residual=True), {}),
        r"`target`: expected a Stack without residual connections",
    ),
    "layers of two kinds": (
        lambda: convert.from_torch(lj.Stack((lj.Recurrent(lj.LSTM(3, 4)), lj.Recurrent(lj.GRU(4, 4)))), {}),
        r"`target`: expected layers of one cell, hidden size and direction, got Stack\(",
    ),
    "a state dict with more layers": (
        lambda: convert.from_torch(lj.Recurrent(lj.LSTM(3, 4)), {"weight_ih_l1": jnp.zeros((16, 4))}),
        r"`source`: expected the weights of Recurrent\(.*, got also weight_ih_l1",
    ),
    "a module for a cell": (
        lambda: convert.from_torch(lj.LSTM(3, 4), {"weight_ih_l0": jnp.zeros((16, 3))}),
        r"`source`: expected the weights of a cell such as nn.LSTMCell \(those of nn.LSTM.*weight_ih_l0",
    ),
    "a class": (lambda: convert.from_torch(lj.LSTM, {}), r"`target`: expected a cell, such as LSTM"),
    "a prefix of nothing": (
        lambda: convert.from_torch(
            lj.Recurrent(lj.LSTM(3, 4)), {"rnn.weight_ih_l0": jnp.zeros((16, 3))}, prefix="net."
        ),
        r"`prefix`: expected what some of rnn.weight_ih_l0 begin with, got 'net.'",
    ),
    "arrays of two layers of Keras": (
        lambda: convert.from_keras(lj.LSTM(3, 4), [np.zeros((3, 16), np.float32)] * 6),
        r"`source`: expected 3 arrays, kernel, recurrent_kernel, bias, got 6",
    ),
    "a file name": (
        lambda: convert.from_torch(lj.Recurrent(lj.LSTM(3, 4)), "weights.pt"),
        r"`source`: expected a module of PyTorch or its state dict, got str 'weights.pt'",
    ),
    "a vector of another length": (
        lambda: convert.from_cudnn(lj.Recurrent(lj.LSTM(3, 4)), jnp.zeros(7)),
        r"`source`: expected shape \[144\], got float32\[7\]",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors(case):
    call, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_biases_of_an_equinox_module_are_not_left_behind():
    eqx = pytest.importorskip("equinox")
    module = eqx.nn.GRUCell(3, 4, key=jax.random.key(0))
    with pytest.raises(ValueError, match="got also bias, bias_n"):
        convert.from_equinox(lj.GRU(3, 4, use_bias=False), module)


def test_what_must_be_zero_is_not_looked_at_inside_jit():
    cell = lj.GRU(3, 4)
    with pytest.raises(ValueError, match=r"`params.b_hn`: expected zeros for gate n.*inside `jit`"):
        jax.jit(lambda p: convert.to_nnx(cell, p))(random_params(cell))


def test_modules_that_are_another_function():
    from flax import nnx

    module = nnx.OptimizedLSTMCell(INPUT, HIDDEN, gate_fn=jax.nn.hard_sigmoid, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"`source.gate_fn`: expected 'sigmoid', got 'hard_sigmoid'"):
        convert.from_nnx(lj.LSTM(INPUT, HIDDEN), module)
    module = nnx.SimpleCell(INPUT, HIDDEN, residual=True, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"`source.residual`: expected False, got True"):
        convert.from_nnx(lj.Elman(INPUT, HIDDEN), module)


def test_modules_of_pytorch_and_keras_that_are_another_function():
    torch = pytest.importorskip("torch")
    keras = pytest.importorskip("keras")
    layer = lj.Recurrent(lj.Elman(INPUT, HIDDEN))
    with pytest.raises(ValueError, match=r"`source.nonlinearity`: expected 'tanh', got 'relu'"):
        convert.from_torch(layer, torch.nn.RNN(INPUT, HIDDEN, nonlinearity="relu"))
    with pytest.raises(ValueError, match=r"got also weight_hr"):
        convert.from_torch(lj.Recurrent(lj.LSTM(INPUT, HIDDEN)), torch.nn.LSTM(INPUT, HIDDEN, proj_size=2))
    backwards = keras.layers.LSTM(HIDDEN, go_backwards=True)
    summed = keras.layers.Bidirectional(keras.layers.LSTM(HIDDEN), merge_mode="sum")
    two = keras.Sequential([keras.layers.LSTM(INPUT, return_sequences=True), keras.layers.LSTM(HIDDEN)])
    for theirs in (backwards, summed, two):
        theirs.build((1, 2, INPUT))
    with pytest.raises(ValueError, match=r"`source.go_backwards`: expected False, got True"):
        convert.from_keras(lj.Recurrent(lj.LSTM(INPUT, HIDDEN)), backwards)
    assert convert.from_keras(lj.Recurrent(lj.LSTM(INPUT, HIDDEN), reverse=True), backwards).cell.w_x.shape == (3, 16)
    with pytest.raises(ValueError, match=r"`source.merge_mode`: expected 'concat', got 'sum'"):
        convert.from_keras(lj.Bidirectional(lj.LSTM(INPUT, HIDDEN)), summed)
    for theirs in (two, summed, keras.layers.LSTM(HIDDEN)):
        with pytest.raises(ValueError, match=r"`source`: expected one recurrent layer of Keras in one direction, got"):
            convert.from_keras(lj.Recurrent(lj.LSTM(INPUT, HIDDEN)), theirs)
    wrapped = keras.layers.RNN(keras.layers.SimpleRNNCell(HIDDEN, activation="relu"))
    wrapped.build((1, 2, INPUT))
    with pytest.raises(ValueError, match=r"`source.activation`: expected 'tanh', got 'relu'"):
        convert.from_keras(lj.Elman(INPUT, HIDDEN), wrapped)
    theirs = keras.layers.LSTM(HIDDEN, recurrent_activation="hard_sigmoid")
    theirs.build((1, 2, INPUT))
    with pytest.raises(ValueError, match=r"`source.recurrent_activation`: expected 'sigmoid', got 'hard_sigmoid'"):
        convert.from_keras(lj.LSTM(INPUT, HIDDEN), theirs)
