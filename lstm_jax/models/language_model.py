"""Recurrent language models: what comes next, given all that came before."""

import dataclasses
import itertools
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from lstm_jax import checks, inits
from lstm_jax.cells import LSTM, WeightDrop
from lstm_jax.cells.dense import biased, dot
from lstm_jax.layers import Recurrent, Stack
from lstm_jax.models.embedding import Embedding, check_params, check_tokens, drop, split, valid_steps
from lstm_jax.models.readout import Linear
from lstm_jax.types import Array, Carry, Layer, Params


class LanguageModelParams(NamedTuple):
    """The embedding's matrix, the layer's parameters, and the readout's: tied, its bias `[vocabulary]` alone."""

    embedding: Array
    layer: Params
    readout: Any


@dataclasses.dataclass(frozen=True)
class LanguageModel:
    """An embedding, a recurrent layer, and a readout of the logits of the next token.

        x_t = E[token_t],    y_t = layer(x_1 .. x_t),    logits_t = W y_t + b

    `tied` reads out with the embedding itself, W = E, so that the layer's output must be as wide as an embedding.

    Randomness acts only when a key is given, and never on a step of a stream:
      input_dropout: of the layer's inputs; output_dropout: of the readout's. Between the layers of a `Stack` it is the
        stack's own `dropout`, or `SequenceDropout` around a layer.
      variational: one mask a sequence for both, in place of a new one at every step.
      word_dropout: whole words, rows of the embedding, for all sequences of a call.
      Inside the recurrence it is the cell's: `WeightDrop`, `VariationalDropout`.

    `bound` draws every parameter, biases too, uniformly in +-bound; None leaves each to its own initialiser.

    References: Zaremba, Sutskever, Vinyals 2014, https://arxiv.org/abs/1409.2329 (dropout of non-recurrent edges);
    Gal and Ghahramani 2016, https://arxiv.org/abs/1512.05287 (one mask a sequence, words);
    Press and Wolf 2017, https://arxiv.org/abs/1608.05859 (tied weights)
    """

    embedding: Embedding
    layer: Layer
    tied: bool = False
    input_dropout: float = 0.0
    output_dropout: float = 0.0
    variational: bool = False
    word_dropout: float = 0.0
    bound: float | None = None

    def __post_init__(self):
        check_parts(self.embedding, self.layer)
        for name in ("tied", "variational"):
            checks.boolean(name, getattr(self, name))
        for name in ("input_dropout", "output_dropout", "word_dropout"):
            checks.rate(name, getattr(self, name))
        if self.bound is not None:
            checks.positive("bound", self.bound)
        if self.tied and self.layer.output_shape != (self.embedding.size,):
            expected = f"output shape {(self.embedding.size,)}, the embedding's, to be tied to it"
            raise checks.fail("layer", expected, str(self.layer.output_shape))

    @property
    def vocabulary_size(self) -> int:
        return self.embedding.vocabulary_size

    @property
    def readout(self) -> Any:
        """What reads out where nothing is tied."""
        return Linear(self.layer.output_shape[0], self.vocabulary_size)

    def init(self, key: Array, dtype: Any = jnp.float32) -> LanguageModelParams:
        """Returns fresh parameters in `dtype`; the readout's bias starts at zero unless there is a `bound`."""
        checks.drawing(key, dtype)
        if self.bound is None:
            return self._parts(key, dtype)
        leaves, tree = jax.tree.flatten(jax.eval_shape(lambda: self._parts(key, dtype)))
        keys = jax.random.split(key, len(leaves))
        low, high = -self.bound, self.bound
        drawn = [jax.random.uniform(k, x.shape, x.dtype, low, high) for k, x in zip(keys, leaves, strict=True)]
        return jax.tree.unflatten(tree, drawn)

    def _parts(self, key: Array, dtype: Any) -> LanguageModelParams:
        embedding, layer, readout = jax.random.split(key, 3)
        return LanguageModelParams(
            self.embedding.init(embedding, dtype),
            self.layer.init(layer, dtype),
            jnp.zeros(self.vocabulary_size, dtype) if self.tied else self.readout.init(readout, dtype),
        )

    def initial_carry(self, params: LanguageModelParams, batch_shape: tuple[int, ...] = (), dtype: Any = None) -> Carry:
        """Returns the layer's first carry, leaves `[*batch, ...]`."""
        check_params(self, params)
        return self.layer.initial_carry(params.layer, batch_shape, dtype)

    def __call__(
        self,
        params: LanguageModelParams,
        tokens: Array,
        carry: Carry | None = None,
        *,
        resets: Array | None = None,
        lengths: Array | None = None,
        key: Array | None = None,
        **options: Any,
    ) -> tuple[Carry, Array]:
        """Returns `(carry, logits [time, *batch, vocabulary])`, in float32 or better, from `tokens [time, *batch]`.

        `logits[t]` are those of token t + 1. Past a length they mean nothing, and no token there is looked at.
        `options` go to the layer: chunk, unroll, implementation.

        Raises:
          ValueError: a shape, a dtype or an id does not fit.
        """
        check_params(self, params)
        word_key, input_key, layer_key, output_key = split(key, 4)
        xs = self.embedding.sequence(params.embedding, tokens, lengths)
        if word_key is not None and self.word_dropout:
            words = jax.random.bernoulli(word_key, 1 - self.word_dropout, (self.vocabulary_size,))
            stays = words.at[tokens].get(mode="clip")[..., None]
            xs = jnp.where(stays, xs / (1 - self.word_dropout), jnp.zeros_like(xs))
        xs = drop(input_key, xs, self.input_dropout, self.variational)
        carry, ys = self.layer(params.layer, xs, carry, resets=resets, lengths=lengths, key=layer_key, **options)
        return carry, self._read(params, drop(output_key, ys, self.output_dropout, self.variational))

    def step(self, params: LanguageModelParams, carry: Carry, token: Array) -> tuple[Carry, Array]:
        """Takes one step of a stream from `token [*batch]`; returns `(carry, logits [*batch, vocabulary])`."""
        check_params(self, params)
        carry, y = self.layer.step(params.layer, carry, self.embedding(params.embedding, token, name="token"))
        return carry, self._read(params, y)

    def _read(self, params: LanguageModelParams, ys: Array) -> Array:
        if not self.tied:
            return self.readout(params.readout, ys)
        return biased(dot(ys, params.embedding.T), params.readout)


@dataclasses.dataclass(frozen=True)
class SequenceDropout:
    """A layer whose inputs are dropped by one mask a sequence; it acts only when a key is given.

    References: Gal and Ghahramani 2016, https://arxiv.org/abs/1512.05287
    """

    layer: Layer
    rate: float = 0.5

    def __post_init__(self):
        checks.layer("layer", self.layer)
        checks.rate("rate", self.rate)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.layer.input_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.layer.output_shape

    def init(self, key: Array, dtype: Any = jnp.float32) -> Params:
        """Returns the layer's fresh parameters in `dtype`."""
        return self.layer.init(key, dtype)

    def initial_carry(self, params: Params, batch_shape: tuple[int, ...] = (), dtype: Any = None) -> Carry:
        """Returns the layer's first carry."""
        return self.layer.initial_carry(params, batch_shape, dtype)

    def __call__(
        self, params: Params, xs: Array, carry: Carry | None = None, *, key: Array | None = None, **options: Any
    ) -> tuple[Carry, Array]:
        """Returns the layer's `(carry, ys)`; `options` as a layer takes them."""
        mask_key, layer_key = split(key, 2)
        return self.layer(params, drop(mask_key, xs, self.rate, once=True), carry, key=layer_key, **options)

    def step(self, params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        """Takes the layer's step, without dropout."""
        return self.layer.step(params, carry, x)

    def last(self, ys: Array, lengths: Array | None = None) -> Array:
        """Returns the layer's output at the step where it ends."""
        return self.layer.last(ys, lengths)


def zaremba(vocabulary_size: int, size: str = "small") -> LanguageModel:
    """The model of Zaremba, Sutskever and Vinyals: two LSTM layers, "small", "medium" or "large".

    200, 650 or 1500 units, in the embedding too; dropout 0, .5 or .65 of all non-recurrent edges; every parameter
    uniform in +-.1, .05 or .04. The forget gate's bias is drawn like the rest: the paper says nothing else of it.

    References: Zaremba, Sutskever, Vinyals 2014, https://arxiv.org/abs/1409.2329, section 4.1
    """
    sizes = {"small": (200, 0.0, 0.1), "medium": (650, 0.5, 0.05), "large": (1500, 0.65, 0.04)}
    checks.one_of("size", size, tuple(sizes))
    units, rate, bound = sizes[size]
    layer = Stack((Recurrent(LSTM(units, units)),) * 2, dropout=rate)
    embedding = Embedding(vocabulary_size, units)
    return LanguageModel(embedding, layer, input_dropout=rate, output_dropout=rate, bound=bound)


def awd_lstm(
    vocabulary_size: int,
    embedding_size: int = 400,
    hidden_size: int = 1150,
    layers: int = 3,
    *,
    input_dropout: float = 0.4,
    hidden_dropout: float = 0.25,
    output_dropout: float = 0.4,
    word_dropout: float = 0.1,
    weight_drop: float = 0.5,
) -> LanguageModel:
    """The model of Merity, Keskar and Socher: LSTM layers, the last as wide as the embedding that it is tied to.

    Recurrent weights are dropped; inputs, outputs and what passes between layers have one mask a sequence. Weights and
    biases are uniform in +-1/sqrt(units of their layer), the embedding in +-.1. Sizes and rates are those of the Penn
    Treebank model, `hidden_dropout` as in the authors' published command. The paper's other parts belong to training:
    averaged SGD, activation regularisation and windows of varying length.

    References: Merity, Keskar, Socher 2018, https://arxiv.org/abs/1708.02182
    """
    checks.positive_int("layers", layers)
    checks.positive_int("embedding_size", embedding_size)
    checks.positive_int("hidden_size", hidden_size)
    sizes = [embedding_size, *[hidden_size] * (layers - 1), embedding_size]
    drawn: dict[str, Any] = {"w_x_init": inits.Uniform(), "w_h_init": inits.Uniform(), "b_init": inits.UniformBias()}
    made = [
        Recurrent(WeightDrop(LSTM(below, above, **drawn), weight_drop)) for below, above in itertools.pairwise(sizes)
    ]
    return LanguageModel(
        Embedding(vocabulary_size, embedding_size, bound=0.1),
        Stack((made[0], *(SequenceDropout(layer, hidden_dropout) for layer in made[1:]))),
        tied=True,
        input_dropout=input_dropout,
        output_dropout=output_dropout,
        variational=True,
        word_dropout=word_dropout,
    )


class NextToken(Protocol):
    """What predicts the next token: `LanguageModel`, `WindowModel`."""

    @property
    def vocabulary_size(self) -> int: ...

    def __call__(self, params: Any, tokens: Array, carry: Any = None, **options: Any) -> tuple[Any, Array]: ...


def log_probability(
    model: NextToken,
    params: Any,
    tokens: Array,
    carry: Carry | None = None,
    *,
    begin: int | None = None,
    lengths: Array | None = None,
    **options: Any,
) -> Array:
    """Returns log P(token_t | the tokens before it) in nats, `[time, *batch]` as `tokens`, in float32 or better.

    `begin` is the id that stands before the first token, such as the end of the sentence before. Without it the first
    token is given, not predicted, and counts as certain: 0. Past a length stands 0 too. `options` go to the model.
    """
    checks.array("tokens", tokens)
    if tokens.ndim < 1 or not tokens.shape[0]:
        raise checks.fail("tokens", "shape [time >= 1, *batch]", checks.describe(tokens))
    tokens = jnp.asarray(tokens)
    valid = valid_steps(lengths, tokens.shape)
    tokens = jnp.where(valid, tokens, jnp.zeros_like(tokens))
    check_tokens("tokens", tokens, model.vocabulary_size)
    if begin is None:
        inputs, targets = tokens[:-1], tokens[1:]
    else:
        if isinstance(begin, bool) or not isinstance(begin, int) or not 0 <= begin < model.vocabulary_size:
            raise checks.fail("begin", f"an id from 0 to {model.vocabulary_size - 1}", repr(begin))
        inputs, targets = jnp.concatenate([jnp.full_like(tokens[:1], begin), tokens[:-1]]), tokens
    _, logits = model(params, inputs, carry, **options)
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=-1, mode="fill")[..., 0]
    if begin is None:
        picked = jnp.concatenate([jnp.zeros_like(picked, shape=tokens[:1].shape), picked])
    return jnp.where(valid, picked, jnp.zeros_like(picked))


def check_parts(embedding: Any, layer: Any, names: tuple[str, str] = ("embedding", "layer")) -> None:
    """Raises ValueError unless these are an embedding and a layer of vectors that fits on it."""
    if not isinstance(embedding, Embedding):
        raise checks.fail(names[0], "an Embedding(vocabulary_size, size)", repr(embedding))
    checks.layer(names[1], layer)
    if layer.input_shape != (embedding.size,):
        raise checks.fail(names[1], f"input shape {(embedding.size,)}, the embedding's", str(layer.input_shape))
    if len(layer.output_shape) != 1:
        raise checks.fail(names[1], "a layer whose output is a vector", f"output shape {layer.output_shape}")
