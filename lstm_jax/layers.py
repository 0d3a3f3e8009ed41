"""What networks are built from: a cell over time, two directions, a stack. All time-major."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.scan import scan
from lstm_jax.types import Array, Carry, Cell, Layer, Params


class RecurrentParams(NamedTuple):
    """The cell's parameters and, where it is learned, the first carry without batch axes."""

    cell: Params
    carry: Carry | None = None


@dataclasses.dataclass(frozen=True)
class Recurrent:
    """A cell over time, in one direction.

    With `learned_carry` the first carry is a parameter that starts at the cell's own; sequences start from it, and
    after a reset, unless a carry is given. In reverse each sequence runs from its last valid step to its first.
    """

    cell: Cell
    reverse: bool = False
    learned_carry: bool = False

    def __post_init__(self):
        checks.cell("cell", self.cell)
        checks.boolean("reverse", self.reverse)
        checks.boolean("learned_carry", self.learned_carry)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.cell.input_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.cell.output_shape

    def init(self, key: Array, dtype: Any = jnp.float32) -> RecurrentParams:
        """Returns fresh parameters in `dtype`."""
        params = self.cell.init(key, dtype)
        return RecurrentParams(params, self.cell.initial_carry(params) if self.learned_carry else None)

    def initial_carry(self, params: RecurrentParams, batch_shape: tuple[int, ...] = (), dtype: Any = None) -> Carry:
        """Returns the carry that a fresh sequence starts from, leaves `[*batch, ...]`."""
        _check_params("params", params, RecurrentParams)
        carry = self.cell.initial_carry(params.cell, batch_shape, dtype)
        if params.carry is None:
            return carry
        return jax.tree.map(lambda p, c: jnp.broadcast_to(p, c.shape).astype(c.dtype), params.carry, carry)

    def __call__(
        self,
        params: RecurrentParams,
        xs: Array,
        carry: Carry | None = None,
        *,
        lengths: Array | None = None,
        resets: Array | None = None,
        key: Array | None = None,
        chunk: int | None = None,
        unroll: int = 1,
        implementation: str | None = None,
    ) -> tuple[Carry, Array]:
        """Returns `(carry, ys)`; `scan` says what each argument means and raises."""
        _check_params("params", params, RecurrentParams)
        first = None
        if params.carry is not None:
            checks.array("xs", xs)
            first = self.initial_carry(params, xs.shape[1 : xs.ndim - len(self.input_shape)])
        return scan(
            self.cell,
            params.cell,
            xs,
            first if carry is None else carry,
            lengths=lengths,
            resets=resets,
            reverse=self.reverse,
            chunk=chunk,
            unroll=unroll,
            key=key,
            implementation=implementation,
            reset_carry=first,
        )

    def step(self, params: RecurrentParams, carry: Carry, x: Array) -> tuple[Carry, Array]:
        """Takes one step of a stream from `x [*batch, *input_shape]`; a reversed layer raises ValueError."""
        if self.reverse:
            raise checks.fail("step", "a causal layer", "Recurrent(reverse=True), which starts at the end")
        _check_params("params", params, RecurrentParams)
        return self.cell(params.cell, carry, x)

    def last(self, ys: Array, lengths: Array | None = None) -> Array:
        """Returns the outputs of the step at which the loop ends, `[*batch, *output_shape]`; zeros if it took none."""
        return _end(ys, lengths, self.reverse, len(self.output_shape))


class BidirectionalParams(NamedTuple):
    forward: RecurrentParams
    backward: RecurrentParams


class BidirectionalCarry(NamedTuple):
    forward: Carry
    backward: Carry


@dataclasses.dataclass(frozen=True)
class Bidirectional:
    """One cell forward and one backward in time; outputs joined along the last axis, forward first.

    `backward_cell` is by default the same description as `cell`; the parameters are always its own.

    References: Schuster and Paliwal 1997, https://doi.org/10.1109/78.650093
    """

    cell: Cell
    backward_cell: Cell | None = None
    learned_carry: bool = False

    def __post_init__(self):
        checks.cell("cell", self.cell)
        if self.backward_cell is not None:
            checks.cell("backward_cell", self.backward_cell)
        forward, backward = self.forward, self.backward
        if forward.input_shape != backward.input_shape:
            raise checks.fail("backward_cell", f"input shape {forward.input_shape}", str(backward.input_shape))
        if forward.output_shape[:-1] != backward.output_shape[:-1]:
            raise checks.fail("backward_cell", f"output shape like {forward.output_shape}", str(backward.output_shape))

    @property
    def forward(self) -> Recurrent:
        return Recurrent(self.cell, learned_carry=self.learned_carry)

    @property
    def backward(self) -> Recurrent:
        cell = self.cell if self.backward_cell is None else self.backward_cell
        return Recurrent(cell, reverse=True, learned_carry=self.learned_carry)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.forward.input_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        *rest, features = self.forward.output_shape
        return (*rest, features + self.backward.output_shape[-1])

    def init(self, key: Array, dtype: Any = jnp.float32) -> BidirectionalParams:
        """Returns fresh parameters in `dtype`."""
        checks.typed_key("key", key)
        forward, backward = jax.random.split(key)
        return BidirectionalParams(self.forward.init(forward, dtype), self.backward.init(backward, dtype))

    def initial_carry(
        self, params: BidirectionalParams, batch_shape: tuple[int, ...] = (), dtype: Any = None
    ) -> BidirectionalCarry:
        """Returns both directions' first carries; the backward one stands at the end of the sequence."""
        _check_params("params", params, BidirectionalParams)
        return BidirectionalCarry(
            self.forward.initial_carry(params.forward, batch_shape, dtype),
            self.backward.initial_carry(params.backward, batch_shape, dtype),
        )

    def __call__(
        self,
        params: BidirectionalParams,
        xs: Array,
        carry: BidirectionalCarry | None = None,
        *,
        lengths: Array | None = None,
        resets: Array | None = None,
        key: Array | None = None,
        chunk: int | None = None,
        unroll: int = 1,
        implementation: str | None = None,
    ) -> tuple[BidirectionalCarry, Array]:
        """Returns both last carries and `ys [time, *batch, ..., forward + backward]`."""
        _check_params("params", params, BidirectionalParams)
        _check_carry(carry, BidirectionalCarry)
        keys = (None, None) if key is None else _split("key", key, 2)
        carries, outputs = [], []
        for layer, p, c, k in zip((self.forward, self.backward), params, carry or (None, None), keys, strict=True):
            last, ys = layer(
                p,
                xs,
                c,
                lengths=lengths,
                resets=resets,
                key=k,
                chunk=chunk,
                unroll=unroll,
                implementation=implementation,
            )
            carries.append(last)
            outputs.append(ys)
        return BidirectionalCarry(*carries), jnp.concatenate(outputs, axis=-1)

    def step(self, params: BidirectionalParams, carry: BidirectionalCarry, x: Array) -> Any:
        """Raises ValueError: a layer that reads the future cannot stream."""
        raise checks.fail("step", "a causal layer", "Bidirectional, which reads the sequence from its end too")

    def last(self, ys: Array, lengths: Array | None = None) -> Array:
        """Returns each direction's output at the step where it ends, joined as in `ys`."""
        forward, backward = jnp.split(ys, [self.forward.output_shape[-1]], axis=-1)
        return jnp.concatenate([self.forward.last(forward, lengths), self.backward.last(backward, lengths)], axis=-1)


@dataclasses.dataclass(frozen=True)
class Stack:
    """Layers on top of each other; parameters and carries are tuples, one entry a layer.

    `dropout` drops each input of every layer but the first with this probability, anew at every step and never inside
    the recurrence; it acts only when a key is given. `residual` adds the input of every layer but the first to its
    output.

    References: Zaremba, Sutskever, Vinyals 2014, https://arxiv.org/abs/1409.2329 (dropout on the non-recurrent edges)
    """

    layers: tuple[Layer, ...]
    dropout: float = 0.0
    residual: bool = False

    def __post_init__(self):
        if not isinstance(self.layers, tuple) or not self.layers:
            raise checks.fail("layers", "a tuple of at least one layer, such as Recurrent(cell)", repr(self.layers))
        for i, layer in enumerate(self.layers):
            checks.layer(f"layers[{i}]", layer)
        checks.rate("dropout", self.dropout)
        checks.boolean("residual", self.residual)
        for i, (below, above) in enumerate(zip(self.layers, self.layers[1:], strict=False), start=1):
            if below.output_shape != above.input_shape:
                raise checks.fail(f"layers[{i}]", f"input shape {below.output_shape}", str(above.input_shape))
            if self.residual and above.output_shape != above.input_shape:
                raise checks.fail(
                    f"layers[{i}]", f"output shape {above.input_shape} (residual)", str(above.output_shape)
                )

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.layers[0].input_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.layers[-1].output_shape

    def init(self, key: Array, dtype: Any = jnp.float32) -> tuple[Params, ...]:
        """Returns fresh parameters in `dtype`."""
        keys = _split("key", key, len(self.layers))
        return tuple(layer.init(k, dtype) for layer, k in zip(self.layers, keys, strict=True))

    def initial_carry(self, params: tuple, batch_shape: tuple[int, ...] = (), dtype: Any = None) -> tuple[Carry, ...]:
        """Returns every layer's first carry."""
        self._check("params", params)
        return tuple(layer.initial_carry(p, batch_shape, dtype) for layer, p in zip(self.layers, params, strict=True))

    def __call__(
        self,
        params: tuple,
        xs: Array,
        carry: tuple | None = None,
        *,
        lengths: Array | None = None,
        resets: Array | None = None,
        key: Array | None = None,
        chunk: int | None = None,
        unroll: int = 1,
        implementation: str | None = None,
    ) -> tuple[tuple[Carry, ...], Array]:
        """Returns every layer's last carry and the top layer's outputs."""
        self._check("params", params)
        if carry is not None:
            self._check("carry", carry)
        carries = []
        keys = [None] * len(self.layers) if key is None else list(_split("key", key, len(self.layers)))
        ys = xs
        for i, (layer, p) in enumerate(zip(self.layers, params, strict=True)):
            inputs, layer_key = ys, keys[i]
            if layer_key is not None:
                layer_key, drop = jax.random.split(layer_key)
                if i > 0 and self.dropout > 0:
                    inputs = dropout(drop, inputs, self.dropout)
            last, ys = layer(
                p,
                inputs,
                None if carry is None else carry[i],
                lengths=lengths,
                resets=resets,
                key=layer_key,
                chunk=chunk,
                unroll=unroll,
                implementation=implementation,
            )
            if i > 0 and self.residual:
                ys = ys + inputs
            carries.append(last)
        return tuple(carries), ys

    def step(self, params: tuple, carry: tuple, x: Array) -> tuple[tuple[Carry, ...], Array]:
        """Takes one step of a stream, without dropout; raises ValueError where a layer looks ahead."""
        self._check("params", params)
        self._check("carry", carry)
        carries, y = [], x
        for i, (layer, p, c) in enumerate(zip(self.layers, params, carry, strict=True)):
            last, out = layer.step(p, c, y)
            y = out + y if i > 0 and self.residual else out
            carries.append(last)
        return tuple(carries), y

    def last(self, ys: Array, lengths: Array | None = None) -> Array:
        """Returns the top layer's output at the step where it ends."""
        return self.layers[-1].last(ys, lengths)

    def _check(self, name: str, value: Any) -> None:
        if not isinstance(value, tuple) or len(value) != len(self.layers):
            raise checks.fail(name, f"a tuple of {len(self.layers)}, one entry a layer", checks.describe(value))


def dropout(key: Array, x: Array, rate: float) -> Array:
    """Zeroes each entry with probability `rate` and scales the others by 1 / (1 - rate)."""
    checks.rate("rate", rate)
    keep = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(keep, x / (1 - rate), jnp.zeros_like(x))


def _split(name: str, key: Any, count: int) -> Array:
    checks.typed_key(name, key)
    return jax.random.split(key, count)


def _check_params(name: str, params: Any, expected: type) -> None:
    if not isinstance(params, expected):
        raise checks.fail(name, f"{expected.__name__}, as `init` returns them", checks.describe(params))


def _check_carry(carry: Any, expected: type) -> None:
    if carry is not None and not (isinstance(carry, tuple) and len(carry) == len(expected._fields)):
        raise checks.fail("carry", f"{expected.__name__}({', '.join(expected._fields)})", checks.describe(carry))


def _end(ys: Array, lengths: Array | None, reverse: bool, feature_rank: int) -> Array:
    """The step at which a loop over `ys [time, *batch, ...]` ends."""
    if lengths is not None:
        checks.lengths("lengths", lengths, ys.shape[1 : ys.ndim - feature_rank])
    if ys.shape[0] == 0:
        return jnp.zeros(ys.shape[1:], ys.dtype)
    if reverse or lengths is None:
        return ys[0] if reverse else ys[-1]
    # Outputs past a length are zero, so that a zero length may read any step.
    place = jnp.clip(jnp.asarray(lengths).astype(jnp.int32) - 1, 0, ys.shape[0] - 1)
    place = place.reshape(1, *place.shape, *(1,) * feature_rank)
    return jnp.take_along_axis(ys, place, axis=0)[0]
