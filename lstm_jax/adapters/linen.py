"""Cells and layers as Flax linen modules.

    from lstm_jax.adapters.linen import Recurrent

    ys = Recurrent(lj.LSTM(64, 128))(xs)  # inside a module; xs [batch, time, 64], ys [batch, time, 128]

Parameters stand in the variable tree under our own names, those of `lstm_jax.tree`: `cell/w_x`,
`layers_0/forward/cell/w_h`. A trained model whose `nn.RNN(nn.OptimizedLSTMCell(128))(xs)` becomes the line above keeps
its weights by

    weights = convert.from_linen(lj.Recurrent(lj.LSTM(64, 128)), params.pop("OptimizedLSTMCell_0"))
    params["Recurrent_0"] = tree.to_dict(weights)

Beside `nn.RNN`: `seq_lengths` is `lengths` here and `initial_carry` is `carry`, an LSTM's carry is `LSTMCarry(h, c)`
and not `(c, h)`, outputs past a length are zero, and the outputs of a reversed layer stay aligned with its inputs.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import meta

from lstm_jax import tree
from lstm_jax.adapters.common import Initializer, as_layer, cast, check_draws_nothing, initialise, run
from lstm_jax.cells.call import params_like
from lstm_jax.types import Array, Carry


class _Weights(nn.Module, kw_only=True):
    """The parameters of a cell or a layer as variables, with the options that Flax's modules have for them."""

    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Initializer | None = None
    recurrent_kernel_init: Initializer | None = None
    bias_init: Initializer | None = None

    def _variables(self, described: Any) -> dict[str, Any]:
        """Declares every parameter of a cell or layer; returns them by name."""
        like = tree.to_dict(params_like(described, self.param_dtype))
        if not self.is_mutable_collection("params") or all(self.has_variable("params", name) for name in like):
            tree.from_dict(described, self.variables.get("params", {}), "params")

            def given(_: Any, name: str) -> Any:  # nothing is drawn: `self.param` compares shapes
                return jax.tree.map(lambda p: jnp.zeros(p.shape, p.dtype), like[name])

            return {name: self.param(name, given, name) for name in like}

        def box(kind: str, example: Any, array: Array) -> Any:
            return example.replace_boxed(array) if isinstance(example, meta.AxisMetadata) else array

        inits = {"kernel": self.kernel_init, "recurrent_kernel": self.recurrent_kernel_init, "bias": self.bias_init}
        fresh = initialise(described, _typed(self.make_rng("params")), self.param_dtype, inits, _unbox, box)
        return {name: self.param(name, lambda _, name=name: fresh[name]) for name in fresh}


def _typed(key: Array) -> Array:
    """A key of `jax.random.PRNGKey` as one of `jax.random.key`."""
    return key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)


def _unbox(value: Any) -> Array:
    """A gate without its box, and without the box's constraint: that is for all gates together."""
    return value.unbox(apply_constraint=False) if isinstance(value, nn.Partitioned) else nn.unbox(value)


class Recurrent(_Weights):
    """A layer over batch-first sequences, or a cell as a layer of its own.

    Attributes:
      layer: a `Recurrent`, a `Bidirectional`, a `Stack` or a cell.
      time_major: inputs are `[time, *batch, ...]` instead of `[*batch, time, ...]`, and so are outputs.
      return_carry: calls return `(carry, ys)` instead of `ys`.
      deterministic: True for no dropout, False for dropout by the random stream "dropout", None for dropout where the
        call has that stream.
      chunk, unroll, implementation: as `lstm_jax.scan` has them.
      dtype: of the computation, by default what Flax infers from inputs and parameters.
      param_dtype: of the variables.
      kernel_init, recurrent_kernel_init, bias_init: Flax's initialisers for w_x, w_h and the biases in place of the
        cells' own, called once a gate; metadata such as `nn.with_partitioning`'s are kept.
    """

    layer: Any
    time_major: bool = False
    return_carry: bool = False
    deterministic: bool | None = None
    chunk: int | None = None
    unroll: int = 1
    implementation: str | None = None

    def setup(self):
        self._layer = as_layer(self.layer)
        self._named = self._variables(self._layer)

    def __call__(
        self,
        xs: Array,
        carry: Carry | None = None,
        *,
        lengths: Array | None = None,
        resets: Array | None = None,
        deterministic: bool | None = None,
        return_carry: bool | None = None,
    ) -> Any:
        """Returns `ys [*batch, time, *output_shape]`, with `return_carry` `(carry, ys)`.

        Args:
          xs: `[*batch, time, *input_shape]`.
          carry: where the sequences start, as an earlier call returned it.
          lengths: valid steps of each sequence, integers `[*batch]`; outputs past them are zero.
          resets: bool `[*batch, time]`: a new sequence begins before that step.
          deterministic, return_carry: in place of the attributes.
        """
        params, xs = cast(self._layer, self._named, xs, self.dtype)
        deterministic = self.deterministic if deterministic is None else deterministic
        if deterministic is None:
            deterministic = not self.has_rng("dropout")
        return run(
            self._layer,
            params,
            xs,
            carry,
            time_major=self.time_major,
            return_carry=self.return_carry if return_carry is None else return_carry,
            lengths=lengths,
            resets=resets,
            key=None if deterministic else _typed(self.make_rng("dropout")),
            chunk=self.chunk,
            unroll=self.unroll,
            implementation=self.implementation,
        )

    def initial_carry(self, batch_shape: tuple[int, ...] = ()) -> Carry:
        """Returns the carry that fresh sequences start from."""
        return self._layer.initial_carry(tree.from_dict(self._layer, self._named), batch_shape, self.dtype)

    def step(self, carry: Carry, x: Array) -> tuple[Carry, Array]:
        """Takes one step of a stream from `x [*batch, *input_shape]`; raises ValueError where a layer looks ahead."""
        params, x = cast(self._layer, self._named, x, self.dtype)
        return self._layer.step(params, carry, x)


class Cell(_Weights, nn.RNNCellBase):
    """A cell for `nn.RNN`, `nn.Bidirectional` and `nn.scan`, whose loops it keeps: `Recurrent` has the fast ones.

    Attributes:
      cell: a cell, such as `LSTM(input_size, hidden_size)`. Its carry is its own: `LSTMCarry(h, c)`, not `(c, h)`.
      dtype, param_dtype, kernel_init, recurrent_kernel_init, bias_init: as `Recurrent` has them.
    """

    cell: Any

    def setup(self):
        check_draws_nothing(self.cell)
        self._named = self._variables(self.cell)

    def __call__(self, carry: Carry, inputs: Array) -> tuple[Carry, Array]:
        """Takes one step; returns the carry, in the dtype that it had, and the output."""
        params, inputs = cast(self.cell, self._named, inputs, self.dtype)
        return self.cell(params, carry, inputs)

    @nn.nowrap
    def initialize_carry(self, rng: Array, input_shape: tuple[int, ...]) -> Carry:
        """Returns the carry of a fresh sequence, for inputs `[*batch, *input_shape]`; `rng` is not used."""
        params = params_like(self.cell, self.param_dtype)
        return self.cell.initial_carry(params, input_shape[: -self.num_feature_axes], self.dtype)

    @property
    def num_feature_axes(self) -> int:
        return len(self.cell.input_shape)
