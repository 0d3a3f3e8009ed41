"""Cells and layers as Flax nnx modules.

    from lstm_jax.adapters.nnx import Recurrent

    rnn = Recurrent(lj.LSTM(64, 128), rngs=nnx.Rngs(0))
    ys = rnn(xs)  # xs [batch, time, 64], ys [batch, time, 128]

Parameters are `nnx.Param`s under our own names, those of `lstm_jax.tree`: `cell/w_x`, `layers_0/forward/cell/w_h`. The
weights of a trained `theirs = nnx.RNN(nnx.OptimizedLSTMCell(64, 128, ...))` go on here by

    rnn.load(convert.from_nnx(rnn.layer, theirs.cell))

Beside `nnx.RNN`: `seq_lengths` is `lengths` here and `initial_carry` is `carry`, an LSTM's carry is `LSTMCarry(h, c)`
and not `(c, h)`, outputs past a length are zero, and the outputs of a reversed layer stay aligned with its inputs.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
from flax import nnx

from lstm_jax import checks, tree
from lstm_jax.adapters.common import Initializer, as_layer, cast, check_draws_nothing, draws, initialise, run
from lstm_jax.cells.call import params_like
from lstm_jax.types import Array, Carry, Params

_NONE: Mapping[str, Any] = MappingProxyType({})


class _Weights(nnx.Module):
    """The parameters of a cell or a layer, with the options that Flax's modules have for them."""

    def _declare(
        self,
        described: Any,
        rngs: nnx.Rngs,
        *,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        kernel_init: Initializer | None = None,
        recurrent_kernel_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        kernel_metadata: Mapping[str, Any] = _NONE,
        recurrent_kernel_metadata: Mapping[str, Any] = _NONE,
        bias_metadata: Mapping[str, Any] = _NONE,
    ):
        """Sets every parameter as an attribute under its name."""
        self.dtype, self.param_dtype = dtype, param_dtype
        inits = {"kernel": kernel_init, "recurrent_kernel": recurrent_kernel_init, "bias": bias_init}
        metadata = {"kernel": kernel_metadata, "recurrent_kernel": recurrent_kernel_metadata, "bias": bias_metadata}

        def unbox(value: Any) -> Array:
            return value.raw_value if isinstance(value, nnx.VariableMetadata) else value

        def box(kind: str, example: Any, array: Array) -> nnx.Param:
            boxed = isinstance(example, nnx.VariableMetadata)
            value = dataclasses.replace(example, raw_value=array) if boxed else array
            return nnx.Param(value, **metadata.get(kind, {}))

        fresh = initialise(described, rngs.params(), param_dtype, inits, unbox, box)
        for name, value in fresh.items():
            setattr(self, name, _modules(value))

    def _named(self, described: Any) -> dict[str, Any]:
        return _values(self, tree.to_dict(params_like(described, self.param_dtype)))


def _modules(value: Any) -> Any:
    return nnx.Dict({name: _modules(v) for name, v in value.items()}) if isinstance(value, dict) else value


def _values(node: Any, like: Any) -> Any:
    """The arrays of a module under the names in `like`, where nnx has variables or puts arrays in their place."""
    if isinstance(like, dict):
        return {name: _values(getattr(node, name), value) for name, value in like.items()}
    return node.get_value() if isinstance(node, nnx.Variable) else node


def _key(rngs: nnx.Rngs | nnx.RngStream | Array) -> Array:
    if isinstance(rngs, nnx.Rngs):
        return rngs.dropout()
    return rngs() if isinstance(rngs, nnx.RngStream) else rngs


class Recurrent(_Weights):
    """A layer over batch-first sequences, or a cell as a layer of its own."""

    def __init__(
        self,
        layer: Any,
        *,
        time_major: bool = False,
        return_carry: bool = False,
        deterministic: bool = False,
        chunk: int | None = None,
        unroll: int = 1,
        implementation: str | None = None,
        rngs: nnx.Rngs,
        **weights: Any,
    ):
        """Draws the parameters.

        Args:
          layer: a `Recurrent`, a `Bidirectional`, a `Stack` or a cell.
          time_major: inputs are `[time, *batch, ...]` instead of `[*batch, time, ...]`, and so are outputs.
          return_carry: calls return `(carry, ys)` instead of `ys`.
          deterministic: no dropout; `module.eval()` sets it, `module.train()` takes it back.
          chunk, unroll, implementation: as `lstm_jax.scan` has them.
          rngs: "params" draws the parameters; a layer that draws anything keeps a fork of "dropout".
          dtype: of the computation, by default what Flax infers from inputs and parameters.
          param_dtype: of the parameters.
          kernel_init, recurrent_kernel_init, bias_init: Flax's initialisers for w_x, w_h and the biases in place of the
            cells' own, called once a gate; metadata such as `nnx.with_partitioning`'s are kept.
          kernel_metadata, recurrent_kernel_metadata, bias_metadata: for `nnx.Param`, such as `out_sharding`.
        """
        self.layer = as_layer(layer)
        self._declare(self.layer, rngs, **weights)
        self.time_major, self.return_carry, self.deterministic = time_major, return_carry, deterministic
        self.chunk, self.unroll, self.implementation = chunk, unroll, implementation
        self.rngs = rngs.dropout.fork() if draws(self.layer) else nnx.data(None)

    @property
    def params(self) -> Params:
        """The parameters as the layer's own functions take them, in `param_dtype`."""
        return tree.from_dict(self.layer, self._named(self.layer))

    def load(self, params: Params) -> None:
        """Puts other parameters of the same layer in place of these; their dtypes are kept."""
        checks.same_tree("params", params, self.params)
        nnx.update(self, tree.to_dict(params))

    def __call__(
        self,
        xs: Array,
        carry: Carry | None = None,
        *,
        lengths: Array | None = None,
        resets: Array | None = None,
        deterministic: bool | None = None,
        return_carry: bool | None = None,
        rngs: nnx.Rngs | nnx.RngStream | Array | None = None,
    ) -> Any:
        """Returns `ys [*batch, time, *output_shape]`, with `return_carry` `(carry, ys)`.

        Args:
          xs: `[*batch, time, *input_shape]`.
          carry: where the sequences start, as an earlier call returned it.
          lengths: valid steps of each sequence, integers `[*batch]`; outputs past them are zero.
          resets: bool `[*batch, time]`: a new sequence begins before that step.
          deterministic, return_carry: in place of the attributes.
          rngs: draws in place of the stream that the layer keeps, or is the key itself.
        """
        params, xs = cast(self.layer, self._named(self.layer), xs, self.dtype)
        deterministic = self.deterministic if deterministic is None else deterministic
        rngs = self.rngs if rngs is None else rngs
        return run(
            self.layer,
            params,
            xs,
            carry,
            time_major=self.time_major,
            return_carry=self.return_carry if return_carry is None else return_carry,
            lengths=lengths,
            resets=resets,
            key=None if deterministic or rngs is None else _key(rngs),
            chunk=self.chunk,
            unroll=self.unroll,
            implementation=self.implementation,
        )

    def set_view(self, deterministic: bool | None = None) -> None:
        """What `nnx.view` sets."""
        if deterministic is not None:
            self.deterministic = deterministic

    def initial_carry(self, batch_shape: tuple[int, ...] = ()) -> Carry:
        """Returns the carry that fresh sequences start from."""
        return self.layer.initial_carry(self.params, batch_shape, self.dtype)

    def step(self, carry: Carry, x: Array) -> tuple[Carry, Array]:
        """Takes one step of a stream from `x [*batch, *input_shape]`; raises ValueError where a layer looks ahead."""
        params, x = cast(self.layer, self._named(self.layer), x, self.dtype)
        return self.layer.step(params, carry, x)


class Cell(_Weights, nnx.RNNCellBase):
    """A cell for `nnx.RNN` and `nnx.Bidirectional`, whose loops it keeps: `Recurrent` has the fast ones.

    Its carry is its own: `LSTMCarry(h, c)`, not `(c, h)`.
    """

    def __init__(self, cell: Any, *, rngs: nnx.Rngs, **weights: Any):
        """Draws the parameters; `weights` are `Recurrent`'s options for them, from `dtype` on."""
        check_draws_nothing(cell)
        self.described = cell
        self._declare(cell, rngs, **weights)

    def __call__(self, carry: Carry, inputs: Array) -> tuple[Carry, Array]:
        """Takes one step; returns the carry, in the dtype that it had, and the output."""
        params, inputs = cast(self.described, self._named(self.described), inputs, self.dtype)
        return self.described(params, carry, inputs)

    def initialize_carry(self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Any = None) -> Carry:
        """Returns the carry that a fresh sequence starts from, for inputs `[*batch, *input_shape]`.

        `rngs` is not used; `carry_init` must be None.
        """
        if carry_init is not None:
            raise checks.fail("carry_init", "None: the cell says how its carry begins", repr(carry_init))
        params = tree.from_dict(self.described, self._named(self.described))
        return self.described.initial_carry(params, input_shape[: -self.num_feature_axes], self.dtype)

    @property
    def num_feature_axes(self) -> int:
        return len(self.described.input_shape)
