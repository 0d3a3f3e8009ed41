"""Real-time recurrent learning: the gradient, carried forward with the state instead of back through time."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from lstm_jax import checks
from lstm_jax.cells.call import check_carry, check_params
from lstm_jax.cells.dense import like
from lstm_jax.types import Array, Carry, Cell, Params

Cost = Callable[[Array, Any], Array]
"""From one sequence's output `[*output_shape]` and target at one step to a scalar."""


class Influence(NamedTuple):
    """A carry, and how far each parameter has moved it: all that real-time recurrent learning remembers.

    `jacobian [*batch, state, parameters]` is d carry / d params, both raveled in the order of their leaves.
    """

    carry: Carry
    jacobian: Array


def start_influence(cell: Cell, params: Params, batch_shape: tuple[int, ...] = ()) -> Influence:
    """Returns the cell's first carry, which no parameter has moved yet."""
    state, theta = (ravel_pytree(tree)[0] for tree in (cell.initial_carry(params), params))
    return Influence(
        cell.initial_carry(params, batch_shape), jnp.zeros((*batch_shape, state.size, theta.size), theta.dtype)
    )


def rtrl_step(
    cell: Cell, cost: Cost, params: Params, before: Influence, x: Array, target: Any
) -> tuple[Influence, tuple[Array, Params]]:
    """Takes one step, and returns the gradient of this step's cost through all steps before.

        J_t = F_s J_{t-1} + F_theta,    d cost_t / d theta = cost_theta + cost_s J_{t-1}

    with s_t = F(theta, s_{t-1}, x_t). Parameters may move between steps, as they do in learning online; the Jacobian
    then is that of a past in which they moved little.

    Args:
      cell: any cell.
      cost: of one sequence's output and target.
      params: the cell's parameters.
      before: what `start_influence` or the last step returned.
      x: inputs of the step, `[*batch, *input_shape]`.
      target: a pytree with leaves `[*batch, ...]`.

    Returns:
      The influence after the step, and the cost and its gradient like `params`, both summed over the batch.
    """
    theta, unravel = ravel_pytree(params)

    def one(before: Influence, x: Array, target: Any) -> tuple[Influence, tuple[Array, Array]]:
        state, unravel_state = ravel_pytree(before.carry)

        def run(theta: Array, state: Array) -> tuple[Array, Array]:
            carry, y = cell(unravel(theta), unravel_state(state), x)
            return ravel_pytree(carry)[0], y

        def judged(theta: Array, state: Array) -> tuple[Array, Array]:
            after, y = run(theta, state)
            return cost(y, target), after

        (value, after), by = jax.value_and_grad(judged, (0, 1), has_aux=True)(theta, state)
        gradient = by[0] + by[1] @ before.jacobian
        f_theta, f_s = jax.jacrev(lambda theta, state: run(theta, state)[0], (0, 1))(theta, state)
        return Influence(unravel_state(after), f_s @ before.jacobian + f_theta), (value, gradient)

    for _ in range(x.ndim - len(cell.input_shape)):
        one = jax.vmap(one)
    after, (values, gradients) = one(before, x, target)
    return after, (values.sum(), unravel(gradients.reshape(-1, theta.size).sum(0)))


def rtrl(
    cell: Cell, cost: Cost, params: Params, xs: Array, targets: Any, carry: Carry | None = None
) -> tuple[Influence, tuple[Array, Params]]:
    """Returns the gradient of a sequence's cost, exact as that of backpropagation through time, computed forward.

    With S numbers in the state and P parameters, a step costs S^2 P multiplications a sequence for the Jacobian's
    product, where backpropagation costs about P; the memory is S P numbers a sequence however long it is, where
    backpropagation keeps every step's state. For an LSTM of n units, S = 2 n and P is about 4 n^2: n^4 operations a
    step against n^2.

    Args:
      cell: any cell; what it would draw with a key is left out.
      cost: of one sequence's output `[*output_shape]` and target at one step, a scalar.
      params: the cell's parameters, in the dtype of `xs`.
      xs: inputs, `[time, *batch, *input_shape]`.
      targets: a pytree with leaves `[time, *batch, ...]`, one target a step.
      carry: where the sequence starts, by default `cell.initial_carry`.

    Returns:
      The influence after the last step, and the cost and its gradient like `params`, summed over steps and batch.

    Raises:
      ValueError: a wrong shape or dtype of cell, params, xs or carry.

    References: Robinson and Fallside 1987, The utility driven dynamic error propagation network; Williams and Zipser
    1989, https://doi.org/10.1162/neco.1989.1.2.270
    """
    checks.cell("cell", cell)
    checks.array("xs", xs)
    rank = len(cell.input_shape)
    if xs.ndim < rank + 1 or xs.shape[xs.ndim - rank :] != cell.input_shape:
        raise checks.fail("xs", f"shape [time, *batch, {', '.join(map(str, cell.input_shape))}]", checks.describe(xs))
    check_params(cell, params, "xs", xs.dtype)
    batch = xs.shape[1 : xs.ndim - rank]
    first = start_influence(cell, params, batch)
    if carry is not None:
        check_carry(cell, params, carry, batch)
        first = first._replace(carry=like(first.carry, carry))

    def step(so_far: tuple[Influence, Array, Params], at: tuple[Array, Any]) -> tuple[tuple, None]:
        before, total, gradient = so_far
        after, (value, term) = rtrl_step(cell, cost, params, before, *at)
        return (after, total + value, jax.tree.map(jnp.add, gradient, term)), None

    zero = jax.eval_shape(lambda: rtrl_step(cell, cost, params, first, xs[0], jax.tree.map(lambda t: t[0], targets)))
    total, gradient = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), zero[1])
    (after, total, gradient), _ = lax.scan(step, (first, total, gradient), (xs, targets))
    return after, (total, gradient)
