"""Generation from any autoregressive model: sampling, greedy or filtered, and beam search.

A model is a function `step(state, token) -> (state, logits)`: token `[batch]` int32, logits `[batch, vocabulary]` of
any float dtype (narrow ones are widened to float32), the state a pytree whose leaves are `[batch, ...]` and keep their
shapes and dtypes. All functions are one `lax.scan` and can be jitted, `step` closed over.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax import checks
from lstm_jax.types import Array, Carry, wide

Step = Callable[[Carry, Array], tuple[Carry, Array]]


class Beams(NamedTuple):
    """Hypotheses, best first: `tokens [batch, width, steps]` int32, `scores`, `lengths [batch, width]`, lengths int32.

    A length counts the stop token; past it stands the stop token again. Where there are fewer hypotheses than width,
    the others score -inf.
    """

    tokens: Array
    scores: Array
    lengths: Array


def filter_logits(logits: Array, top_k: int | None = None, top_p: float | None = None) -> Array:
    """Returns `logits [..., vocabulary]` with -inf for the tokens that are not to be drawn, in float32 or better.

    Args:
        logits: any float dtype.
        top_k: how many of the most probable tokens stay; None for all.
        top_p: the smallest set of most probable tokens whose probability is at least this, in (0, 1], stays: the
            nucleus, taken of what `top_k` leaves. None or 1 for all.

    Of equal logits the token with the smaller number is taken as the more probable.

    Raises:
        ValueError: an argument is not as described.

    References:
        Fan, Lewis & Dauphin, "Hierarchical neural story generation", ACL 2018 (top-k). Holtzman, Buys, Du, Forbes &
        Choi, "The curious case of neural text degeneration", ICLR 2020 (nucleus).
    """
    checks.array("logits", logits)
    checks.float_dtype("logits", logits.dtype)
    if logits.ndim < 1 or logits.shape[-1] < 1:
        raise checks.fail("logits", "shape [..., vocabulary]", checks.describe(logits))
    _check_filter(top_k, top_p)
    logits = jnp.asarray(logits).astype(wide(logits.dtype))
    size = logits.shape[-1]
    keep_k = size if top_k is None else min(top_k, size)
    if keep_k == size and top_p in (None, 1):
        return logits
    order = jnp.argsort(-logits, axis=-1, stable=True)
    ranked = jnp.take_along_axis(logits, order, axis=-1)
    keep = jnp.broadcast_to(jnp.arange(size, dtype=jnp.int32) < keep_k, ranked.shape)
    if top_p is not None and top_p < 1:
        p = jax.nn.softmax(jnp.where(keep, ranked, -jnp.inf), axis=-1)
        before = jnp.cumsum(p, axis=-1)[..., :-1]  # of all that are more probable
        keep &= jnp.concatenate([jnp.ones_like(keep[..., :1]), before < top_p], axis=-1)
    place = jnp.argsort(order, axis=-1)
    return jnp.where(jnp.take_along_axis(keep, place, axis=-1), logits, -jnp.inf)


def sample(
    step: Step,
    state: Carry,
    token: Array,
    key: Array,
    steps: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Array:
    """Returns `tokens [steps, batch]` int32, each drawn from what the model expects after the one before.

    Args:
        step: the model.
        state: where it stands.
        token: `[batch]` integers, what it reads first; not returned.
        key: a typed key; step t draws with `fold_in(key, t)`.
        steps: how many tokens.
        temperature: what the logits are divided by, before they are filtered; 0 takes the most probable token.
        top_k, top_p: as in `filter_logits`.

    Raises:
        ValueError: an argument is not as described.
    """
    checks.typed_key("key", key)
    checks.finite("temperature", temperature)
    if temperature < 0:
        raise checks.fail("temperature", "a number >= 0", repr(temperature))
    _check_filter(top_k, top_p)
    token, _, dtype = _check_model(step, state, token, steps)

    def draw(carry: tuple[Carry, Array], t: Array) -> tuple[tuple[Carry, Array], Array]:
        state, logits = step(*carry)
        logits = logits.astype(dtype)
        if temperature == 0:
            token = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        else:
            logits = filter_logits(logits / temperature, top_k, top_p)
            token = jax.random.categorical(jax.random.fold_in(key, t), logits).astype(jnp.int32)
        return (state, token), token

    return lax.scan(draw, (state, token), jnp.arange(steps, dtype=jnp.int32))[1]


def beam_search(
    step: Step,
    state: Carry,
    token: Array,
    width: int,
    steps: int,
    stop: int | None = None,
    length_penalty: float = 0.0,
) -> Beams:
    """Returns the `width` best continuations found when no more than that many are kept at each step.

    A hypothesis Y is ranked, all along and at the end, by its score

        s(Y) = log p(Y) / lp(Y)        lp(Y) = ((5 + |Y|) / 6)^length_penalty

    in nats. One that has ended with `stop` keeps its score and its place among the others as long as they are not
    better. Of equal scores comes first what goes on from the better hypothesis, then the smaller token. With a width of
    `vocabulary**steps` nothing is dropped, and the search is exhaustive.

    Args:
        step: the model.
        state: where it stands, one state a batch entry.
        token: `[batch]` integers, what it reads first; not returned.
        width: how many hypotheses are kept.
        steps: the most tokens that a hypothesis has.
        stop: the token that ends a hypothesis; None where all have `steps` tokens.
        length_penalty: alpha of Wu et al., 0 or more; 0 ranks by log p alone, which favours the short.

    Raises:
        ValueError: an argument is not as described.

    References:
        Wu et al., "Google's neural machine translation system: bridging the gap between human and machine
        translation", 2016, arXiv:1609.08144, equation 14 (the length penalty, without the coverage term).
    """
    checks.positive_int("width", width)
    checks.finite("length_penalty", length_penalty)
    if length_penalty < 0:
        raise checks.fail("length_penalty", "a number >= 0", repr(length_penalty))
    token, vocabulary, dtype = _check_model(step, state, token, steps)
    if stop is not None:
        checks.positive_int("stop", stop, 0)
        if stop >= vocabulary:
            raise checks.fail("stop", f"a token below {vocabulary}", repr(stop))
    batch = token.shape[0]
    only_stop = jnp.where(jnp.arange(vocabulary, dtype=jnp.int32) == stop, 0, -jnp.inf).astype(dtype)

    def penalty(lengths: Array) -> Array:
        return ((5 + lengths.astype(dtype)) / 6) ** length_penalty

    def extend(carry: tuple[Carry, Array, Array, Array, Array], _: Any) -> tuple[Any, tuple[Array, Array]]:
        state, token, log_p, lengths, ended = carry
        state, logits = step(state, token)
        more = jax.nn.log_softmax(logits.astype(dtype), axis=-1).reshape(batch, width, vocabulary)
        log_p = log_p[..., None] + jnp.where(ended[..., None], only_stop, more)  # ended: one continuation, at no cost
        lengths = lengths + (~ended).astype(jnp.int32)
        ranks = log_p / penalty(lengths)[..., None]
        _, best = lax.top_k(ranks.reshape(batch, width * vocabulary), width)  # of equals the first
        parent, token = best // vocabulary, (best % vocabulary).astype(jnp.int32)

        def pick(x: Array) -> Array:
            return jax.vmap(lambda rows, i: rows[i])(x, parent)

        state = jax.tree.map(lambda x: pick(x.reshape(batch, width, *x.shape[1:])).reshape(x.shape), state)
        ended = pick(ended) | (token == stop) if stop is not None else ended
        log_p = jnp.take_along_axis(log_p.reshape(batch, width * vocabulary), best, axis=1)
        return (state, token.reshape(-1), log_p, pick(lengths), ended), (parent, token)

    def back(beam: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        parent, token = (jnp.take_along_axis(x, beam, axis=1) for x in step)
        return parent, token

    state, token = jax.tree.map(lambda x: jnp.repeat(x, width, axis=0), (state, token))
    beams = jnp.broadcast_to(jnp.arange(width, dtype=jnp.int32), (batch, width))
    log_p = jnp.where(beams == 0, 0, -jnp.inf).astype(dtype)  # at first there is one hypothesis, the empty one
    carry = (state, token, log_p, jnp.zeros_like(beams), jnp.zeros_like(beams, bool))
    (_, _, log_p, lengths, _), (parents, tokens) = lax.scan(extend, carry, length=steps)
    _, tokens = lax.scan(back, beams, (parents, tokens), reverse=True)
    return Beams(jnp.moveaxis(tokens, 0, -1), log_p / penalty(lengths), lengths)


def _check_filter(top_k: int | None, top_p: float | None) -> None:
    if top_k is not None:
        checks.positive_int("top_k", top_k)
    if top_p is not None and (isinstance(top_p, bool) or not isinstance(top_p, (int, float)) or not 0 < top_p <= 1):
        raise checks.fail("top_p", "None or a number in (0, 1]", repr(top_p))


def _check_model(step: Step, state: Carry, token: Array, steps: int) -> tuple[Array, int, Any]:
    """The token as int32, the size of the vocabulary and the dtype to compute in."""
    checks.positive_int("steps", steps, 0)
    checks.array("token", token)
    if token.ndim != 1 or not jnp.issubdtype(token.dtype, jnp.integer):
        raise checks.fail("token", "integers of shape [batch]", checks.describe(token))
    token = jnp.asarray(token).astype(jnp.int32)
    if any(jnp.shape(x)[:1] != token.shape for x in jax.tree.leaves(state)):
        raise checks.fail("state", f"leaves of shape [{token.shape[0]}, ...] ([batch, ...])", checks.describe(state))
    after, logits = jax.eval_shape(step, state, token)
    checks.float_dtype("step", logits.dtype)
    if logits.ndim != 2 or logits.shape[0] != token.shape[0]:
        raise checks.fail("step", f"logits of shape [{token.shape[0]}, vocabulary]", checks.describe(logits))
    checks.same_tree("step", after, jax.tree.map(jnp.asarray, state), dtypes=True)
    return token, logits.shape[1], wide(logits.dtype)
