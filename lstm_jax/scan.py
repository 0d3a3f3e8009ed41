"""A cell over a sequence: lengths, resets, direction, recomputation, and the choice of what runs it."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax import checks, kernels
from lstm_jax.cells.call import check_carry, check_params
from lstm_jax.cells.dense import like
from lstm_jax.kernels.xla import Options, Sequence, varying
from lstm_jax.types import Array, Carry, Cell, Params


def scan(
    cell: Cell,
    params: Params,
    xs: Array,
    carry: Carry | None = None,
    *,
    lengths: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    chunk: int | None = None,
    unroll: int = 1,
    key: Array | None = None,
    implementation: str | None = None,
    reset_carry: Carry | None = None,
    return_history: bool = False,
) -> tuple[Carry, Any]:
    """Runs a cell over a sequence and returns `(carry, ys)`, as lax.scan does.

    Args:
      cell: any `Cell`.
      params: the cell's parameters, in the dtype of `xs`.
      xs: inputs, `[time, *batch, *input_shape]`.
      carry: where the sequence starts, `[*batch, ...]` leaves; by default `cell.initial_carry`. It may be wider than
        the inputs (a float32 carry keeps a long bfloat16 sequence accurate) and keeps its dtype.
      lengths: valid steps of each sequence, integers `[*batch]` in 0..time. Past its length a sequence holds its carry
        and its outputs are zero; values there are never read, not even NaN. Values out of range count as the nearest.
      resets: bool `[time, *batch]`, each a cut between steps t-1 and t in time order, whichever way the loop runs:
        forward, step t starts from `reset_carry`; reversed, step t-1 does. `resets[0]` does nothing in reverse.
      reverse: runs each sequence from its own last valid step to its first; outputs stay aligned with inputs.
      chunk: keeps the carry every `chunk` steps and recomputes the rest in the backward pass.
      unroll: loop steps compiled as one.
      key: a typed random key, for cells that draw; step t draws from its own fold of it.
      implementation: a name of `kernels.TABLE`, or None to choose; `kernels.explain` says what and why.
      reset_carry: the carry after a reset; by default `cell.initial_carry`.
      return_history: also returns the carry after every step.

    Returns:
      The last carry and the outputs `[time, *batch, *output_shape]` in the dtype of `xs`; with `return_history`, in
      place of the outputs, the pair of them and the carries after every step, leaves `[time, *batch, ...]`.

    Raises:
      ValueError: a wrong shape, dtype or option, naming the argument, what was expected and what came.
      NotImplementedError: the named implementation cannot serve the call.
    """
    batch = _check(cell, params, xs, reverse, chunk, unroll, key, return_history)
    if carry is not None:
        check_carry(cell, params, carry, batch)
    if reset_carry is not None:
        check_carry(cell, params, reset_carry, batch, "reset_carry")
    chosen = kernels.explain(
        cell, xs, carry=carry, resets=resets, key=key, return_history=return_history, implementation=implementation
    ).chosen

    time = xs.shape[0]
    valid = cuts = first = keys = None
    if lengths is not None:
        checks.lengths("lengths", lengths, batch)
        steps = jnp.arange(time, dtype=jnp.int32).reshape(time, *(1,) * len(batch))
        valid = steps < jnp.asarray(lengths).astype(jnp.int32)
        xs = jnp.where(valid.reshape(valid.shape + (1,) * len(cell.input_shape)), xs, jnp.zeros_like(xs))
    if carry is None:
        carry = cell.initial_carry(params, batch)
    if resets is not None:
        cuts = _cuts(resets, valid, (time, *batch), reverse)
        first = cell.initial_carry(params, batch) if reset_carry is None else reset_carry
        first = like(carry, first)
    key_prepare = None
    if key is not None:
        key_prepare, key_steps = jax.random.split(key)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key_steps, jnp.arange(time))
    cell, params = kernels.recast(chosen, cell, cell.prepare(params, batch, key=key_prepare))

    options = Options(
        reverse=reverse,
        unroll=unroll,
        history=return_history,
        portable=implementation is None,
        **kernels.arrangement(),
    )
    seq = Sequence(xs, varying(xs, jax.tree.map(jnp.asarray, carry)), first, valid, cuts, keys)
    run = kernels.TABLE[chosen].run
    if chunk is None or chunk >= time:
        return run(cell, options, params, seq)
    return _run_chunks(lambda params, seq: run(cell, options, params, seq), params, seq, chunk, reverse)


def _run_chunks(run: Any, params: Params, seq: Sequence, chunk: int, reverse: bool) -> tuple[Carry, Any]:
    """Runs whole chunks in a loop of their own and the remainder beside it, each recomputed in the backward pass."""
    timed = Sequence(seq.xs, None, None, seq.valid, seq.resets, seq.keys)
    whole = seq.xs.shape[0] // chunk
    main = jax.tree.map(lambda x: x[: whole * chunk].reshape(whole, chunk, *x.shape[1:]), timed)
    rest = jax.tree.map(lambda x: x[whole * chunk :], timed)

    def part(params: Params, first: Carry, carry: Carry, part: Sequence) -> tuple[Carry, Any]:
        return run(params, part._replace(carry=carry, first=first))

    inner = jax.checkpoint(part, prevent_cse=False)

    def run_main(carry: Carry) -> tuple[Carry, Any]:
        carry, ys = lax.scan(lambda c, p: inner(params, seq.first, c, p), carry, main, reverse=reverse)
        return carry, jax.tree.map(lambda y: y.reshape(whole * chunk, *y.shape[2:]), ys)

    if rest.xs.shape[0] == 0:
        return run_main(seq.carry)

    def run_rest(carry: Carry) -> tuple[Carry, Any]:
        return jax.checkpoint(part)(params, seq.first, carry, rest)

    if reverse:
        carry, last = run_rest(seq.carry)
        carry, early = run_main(carry)
    else:
        carry, early = run_main(seq.carry)
        carry, last = run_rest(carry)
    return carry, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), early, last)


def _cuts(resets: Array, valid: Array | None, shape: tuple[int, ...], reverse: bool) -> Array:
    """Returns, for each step of the loop, whether it starts from the carry after a reset."""
    checks.array("resets", resets)
    if resets.dtype != jnp.bool_ or resets.shape != shape:
        raise checks.fail("resets", f"bool{list(shape)} ([time, *batch])", checks.describe(resets))
    cuts = jnp.asarray(resets)
    if valid is not None:
        cuts = cuts & valid
    return jnp.concatenate([cuts[1:], jnp.zeros_like(cuts[:1])]) if reverse else cuts


def _check(
    cell: Any, params: Any, xs: Any, reverse: Any, chunk: Any, unroll: Any, key: Any, return_history: Any
) -> tuple[int, ...]:
    """Checks what needs no other argument; returns the batch shape."""
    checks.cell("cell", cell)
    checks.array("xs", xs)
    rank = len(cell.input_shape)
    if xs.ndim < rank + 1 or xs.shape[xs.ndim - rank :] != cell.input_shape:
        raise checks.fail("xs", f"shape [time, *batch, {', '.join(map(str, cell.input_shape))}]", checks.describe(xs))
    check_params(cell, params, "xs", xs.dtype)
    checks.boolean("reverse", reverse)
    checks.boolean("return_history", return_history)
    checks.positive_int("unroll", unroll)
    if chunk is not None:
        checks.positive_int("chunk", chunk)
    if key is not None:
        checks.typed_key("key", key)
    return xs.shape[1 : xs.ndim - rank]
