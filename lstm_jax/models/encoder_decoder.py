"""Sequence to sequence: one network reads, another writes."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax import checks
from lstm_jax.models.attention import Attention
from lstm_jax.models.embedding import Embedding, check_params, drop, split, valid_steps
from lstm_jax.models.language_model import check_parts
from lstm_jax.models.readout import MLP, DenseParams, Linear
from lstm_jax.types import Array, Carry, Layer, Params


class EncoderDecoderParams(NamedTuple):
    """Of each part; `bridge` and `attention` are None where there is none."""

    source: Array
    target: Array
    encoder: Params
    bridge: Any
    decoder: Params
    attention: Any
    readout: tuple[DenseParams, ...]


class DecoderState(NamedTuple):
    """Where a decoder stands; every leaf begins with the batch, so that beams can be gathered.

    The decoder's carry; what attention reads, `memory [*batch, time, size]` and which steps of it count,
    `valid [*batch, time]`; None without attention.
    """

    carry: Carry
    memory: Any
    valid: Any


@dataclasses.dataclass(frozen=True)
class EncoderDecoder:
    """An encoder whose last carry starts a decoder, which predicts the target token by token.

        carry, m_1 .. m_S = encoder(E_s[source]),    h_1 .. h_T = decoder(E_t[target], from carry)
        logits_t = W h_t + b,    or W h~_t + b with `attention` "dot", "general" or "additive" (see `Attention`)

    `encoder` and `decoder` are any layers, the decoder causal. A source read backwards, as Sutskever's, is an encoder
    of `Recurrent(cell, reverse=True)`: each sequence from its last valid token to its first, the carry that it ends
    with starts the decoder. Where the encoder's carry has not the decoder's form (`Bidirectional`, other sizes), a
    linear bridge of all its numbers gives all of the decoder's; else it is handed over as it is.

    `dropout` is of both layers' inputs and of what is read out, anew at every step; it acts only when a key is given.

    References: Sutskever, Vinyals, Le 2014, https://arxiv.org/abs/1409.3215;
    Cho et al. 2014, https://arxiv.org/abs/1406.1078; Luong, Pham, Manning 2015, https://arxiv.org/abs/1508.04025
    """

    source: Embedding
    target: Embedding
    encoder: Layer
    decoder: Layer
    attention: str | None = None
    dropout: float = 0.0

    def __post_init__(self):
        check_parts(self.source, self.encoder, ("source", "encoder"))
        check_parts(self.target, self.decoder, ("target", "decoder"))
        checks.one_of("attention", self.attention, (None, "dot", "general", "additive"))
        checks.rate("dropout", self.dropout)
        if not jax.tree.leaves(_carry_like(self.decoder)):
            raise checks.fail("decoder", "a layer with a carry to start from", repr(self.decoder))
        try:
            jax.eval_shape(lambda: self.decoder.step(*_first_step(self.decoder)))
        except ValueError:
            raise checks.fail("decoder", "a causal layer, which takes steps", repr(self.decoder)) from None
        if self.attention is not None:
            _ = self.attend  # its sizes fit

    @property
    def attend(self) -> Attention:
        """What reads the encoder's outputs, where something does."""
        return Attention(self.decoder.output_shape[0], self.encoder.output_shape[0], self.attention or "general")

    @property
    def readout(self) -> MLP:
        return Linear(self.decoder.output_shape[0], self.target.vocabulary_size)

    @property
    def bridge(self) -> MLP | None:
        """From all numbers of the encoder's carry to all of the decoder's; None where the one can be the other."""
        given, wanted = _carry_like(self.encoder), _carry_like(self.decoder)
        if given == wanted:
            return None
        return Linear(*(sum(int(np.prod(x.shape)) for x in jax.tree.leaves(tree)) for tree in (given, wanted)))

    def init(self, key: Array, dtype: Any = jnp.float32) -> EncoderDecoderParams:
        """Returns fresh parameters in `dtype`."""
        checks.drawing(key, dtype)
        source, target, encoder, bridge, decoder, attention, readout = jax.random.split(key, 7)
        between = self.bridge
        return EncoderDecoderParams(
            source=self.source.init(source, dtype),
            target=self.target.init(target, dtype),
            encoder=self.encoder.init(encoder, dtype),
            bridge=None if between is None else between.init(bridge, dtype),
            decoder=self.decoder.init(decoder, dtype),
            attention=None if self.attention is None else self.attend.init(attention, dtype),
            readout=self.readout.init(readout, dtype),
        )

    def __call__(
        self,
        params: EncoderDecoderParams,
        source: Array,
        target_inputs: Array,
        *,
        source_lengths: Array | None = None,
        target_lengths: Array | None = None,
        key: Array | None = None,
        **options: Any,
    ) -> Array:
        """Returns logits `[target time, *batch, target vocabulary]`, in float32 or better: teacher forcing.

        `source [source time, *batch]`; `target_inputs [target time, *batch]` begin with the token that starts every
        target, and `logits[t]` are those of the token after `target_inputs[t]`. Past a target's length logits mean
        nothing; no token past a length is looked at. `options` go to both layers: chunk, unroll, implementation.

        Raises:
          ValueError: a shape, a dtype or an id does not fit.
        """
        return self._run(params, source, target_inputs, source_lengths, target_lengths, key, options)[0]

    def weights(
        self,
        params: EncoderDecoderParams,
        source: Array,
        target_inputs: Array,
        *,
        source_lengths: Array | None = None,
        target_lengths: Array | None = None,
        **options: Any,
    ) -> Array:
        """Returns how much of each source step each target step read, `[target time, *batch, source time]`.

        Raises ValueError as a call does, and where there is no attention.
        """
        if self.attention is None:
            raise checks.fail("attention", "'dot', 'general' or 'additive', to have weights", "None")
        return self._run(params, source, target_inputs, source_lengths, target_lengths, None, options)[1]

    def start(
        self, params: EncoderDecoderParams, source: Array, lengths: Array | None = None, **options: Any
    ) -> DecoderState:
        """Reads `source [time, *batch]`; returns the state that `step` goes on from. `options` go to the encoder."""
        return self._encode(params, source, lengths, (None, None), options)

    def step(self, params: EncoderDecoderParams, state: DecoderState, token: Array) -> tuple[DecoderState, Array]:
        """Takes one step from `token [*batch]`; returns `(state, logits [*batch, target vocabulary])`."""
        check_params(self, params)
        if not isinstance(state, DecoderState):
            raise checks.fail("state", "DecoderState, as `start` returns it", checks.describe(state))
        x = self.target(params.target, token, name="token")
        carry, h = self.decoder.step(params.decoder, state.carry, x)
        if self.attention is not None:
            read, _ = self.attend(params.attention, h[..., None, :], state.memory, state.valid)
            h = read[..., 0, :]
        return state._replace(carry=carry), self.readout(params.readout, h)

    def _encode(
        self, params: EncoderDecoderParams, source: Array, lengths: Array | None, keys: Any, options: dict
    ) -> DecoderState:
        check_params(self, params)
        input_key, layer_key = keys
        xs = drop(input_key, self.source.sequence(params.source, source, lengths, name="source"), self.dropout)
        carry, ys = self.encoder(params.encoder, xs, lengths=lengths, key=layer_key, **options)
        batch = ys.shape[1:-1]
        if (between := self.bridge) is not None:
            leaves = [leaf.reshape(*batch, -1) for leaf in jax.tree.leaves(carry)]
            joined = between(params.bridge, jnp.concatenate(leaves, axis=-1)).astype(ys.dtype)
            carry = _cut(joined, _carry_like(self.decoder))
        if self.attention is None:
            return DecoderState(carry, None, None)
        steps = valid_steps(lengths, ys.shape[:-1])
        return DecoderState(carry, jnp.moveaxis(ys, 0, -2), jnp.moveaxis(steps, 0, -1))

    def _run(
        self,
        params: EncoderDecoderParams,
        source: Array,
        target_inputs: Array,
        source_lengths: Array | None,
        target_lengths: Array | None,
        key: Array | None,
        options: dict,
    ) -> tuple[Array, Any]:
        """Returns the logits and the attention's weights, None without."""
        checks.array("source", source)
        checks.array("target_inputs", target_inputs)
        if target_inputs.ndim < 1 or target_inputs.shape[1:] != source.shape[1:]:
            expected = f"shape [time, {', '.join(map(str, source.shape[1:]))}], the batch that of `source`"
            raise checks.fail("target_inputs", expected, checks.describe(target_inputs))
        for name, lengths in (("source_lengths", source_lengths), ("target_lengths", target_lengths)):
            if lengths is not None:
                checks.lengths(name, lengths, source.shape[1:])
        *keys, target_key, decoder_key, output_key = split(key, 5)
        state = self._encode(params, source, source_lengths, keys, options)
        xs = self.target.sequence(params.target, target_inputs, target_lengths, name="target_inputs")
        xs = drop(target_key, xs, self.dropout)
        _, hs = self.decoder(params.decoder, xs, state.carry, key=decoder_key, **options)
        weights = None
        if self.attention is not None:
            read, weights = self.attend(params.attention, jnp.moveaxis(hs, 0, -2), state.memory, state.valid)
            hs, weights = jnp.moveaxis(read, -2, 0), jnp.moveaxis(weights, -2, 0)
        return self.readout(params.readout, drop(output_key, hs, self.dropout)), weights


@functools.lru_cache(maxsize=64)
def _carry_like(layer: Layer) -> Carry:
    """The structure and shapes of a layer's carry, without batch."""
    return jax.eval_shape(lambda: layer.initial_carry(layer.init(jax.random.key(0))))


def _first_step(layer: Layer) -> tuple[Params, Carry, Array]:
    params = layer.init(jax.random.key(0))
    return params, layer.initial_carry(params), jnp.zeros(layer.input_shape)


def _cut(joined: Array, like: Carry) -> Carry:
    """Numbers `[*batch, all]` in the form of a carry, leaf after leaf."""
    leaves, tree = jax.tree.flatten(like)
    ends = np.cumsum([int(np.prod(leaf.shape)) for leaf in leaves])[:-1]
    parts = jnp.split(joined, ends, axis=-1)
    shaped = [part.reshape(*joined.shape[:-1], *leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(tree, shaped)
