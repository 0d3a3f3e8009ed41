"""Tree-LSTMs over whole trees: a loop over levels, each step taking nodes of all trees whose children are done.

forest = forests.forest([[(1, 2), (), ()], [()]])    # a root with two leaves, and a tree of a single node
carry = forests.run(cell, params, xs, forest)        # xs [4, input_size], tree after tree
h = forests.roots(carry, forest).h                   # [2, hidden_size]
"""

import math
import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lstm_jax import checks
from lstm_jax.cells.call import check_params
from lstm_jax.cells.lstm import LSTMCarry
from lstm_jax.cells.tree_lstm import TreeLSTM, TreeLSTMParams
from lstm_jax.types import Array

Tree: TypeAlias = Sequence[Sequence[int | None]]
"""The children of every node, by their numbers in this tree; None for a child that is absent before one that is not."""


class Forest(NamedTuple):
    """Trees as integer arrays; every index is a row of `xs`, and one beyond them all is padding.

    `steps [steps, width]` are the nodes that each step of the loop computes, `children [steps, width, arity]` their
    children, `roots [trees]` the trees' roots. `mask [nodes]` is True where a row is a node, False where it is padding.
    """

    steps: Any
    children: Any
    roots: Any
    mask: Any


def children_of(parents: Sequence[int]) -> list[list[int]]:
    """Returns the children of every node of one tree, in order of their numbers; the parent of the root is -1."""
    children: list[list[int]] = [[] for _ in parents]
    for node, parent in enumerate(parents):
        if not isinstance(parent, numbers.Integral) or not -1 <= parent < len(parents):
            raise checks.fail(f"parents[{node}]", f"an integer from -1 to {len(parents) - 1}", repr(parent))
        if parent >= 0:
            children[parent].append(node)
    return children


def forest(
    children: Sequence[Tree],
    arity: int | None = None,
    *,
    width: int | None = None,
    steps: int | None = None,
    nodes: int | None = None,
    trees: int | None = None,
) -> Forest:
    """Returns the arrays by which `run` takes trees of any shapes together.

    The nodes of all trees are numbered on, tree after tree: `xs` has them in this order, and padding after them.
    Forests of equal sizes have arrays of equal shapes: fix all five, and every batch runs the same compiled program.

    Args:
      children: for each tree, for each of its nodes, the numbers of its children in the tree; see `children_of`.
      arity: the most children of a node; by default what these trees have. An `NaryTreeLSTM` needs its own.
      width: nodes a step computes; a wider level takes several steps. By default the mean width of the levels, which
        takes at most two steps for each level and computes about twice the nodes there are, at most.
      steps: steps of the loop; by default as many as these trees need.
      nodes: rows of `xs`; by default as many as these trees have nodes.
      trees: entries of `roots`; by default as many as there are trees.

    Raises:
      ValueError: what is no tree (a cycle, two roots, two parents, a wrong index), or a size that does not suffice.
    """
    if arity is not None:
        checks.positive_int("arity", arity)
    checked = [_check_tree(f"children[{number}]", tree, arity) for number, tree in enumerate(children)]
    if not checked:
        raise checks.fail("children", "at least one tree", repr(children))
    heights = np.concatenate([height for height, _ in checked])
    starts = np.cumsum([0, *(len(height) for height, _ in checked)])
    levels = np.split(np.argsort(heights, kind="stable"), np.cumsum(np.bincount(heights))[:-1])

    width = math.ceil(len(heights) / len(levels)) if width is None else width
    checks.positive_int("width", width)
    rows = [level[k : k + width] for level in levels for k in range(0, len(level), width)]
    steps = _size("steps", steps, len(rows))
    nodes = _size("nodes", nodes, len(heights))
    trees = _size("trees", trees, len(checked))
    below = [
        [nodes if child is None else start + child for child in node]
        for start, tree in zip(starts[:-1], children, strict=True)
        for node in tree
    ]
    arity = arity or max(1, *map(len, below))
    padding = nodes + np.arange(width, dtype=np.int32)  # no two alike: the scatter may count on it
    out = Forest(
        np.tile(padding, (steps, 1)),
        np.full((steps, width, arity), nodes, np.int32),
        np.full(trees, nodes, np.int32),
        np.arange(nodes) < len(heights),
    )
    for step, row in enumerate(rows):
        out.steps[step, : len(row)] = row
        for place, node in enumerate(row):
            out.children[step, place, : len(below[node])] = below[node]
    out.roots[: len(checked)] = starts[:-1] + [root for _, root in checked]
    return out


def _size(name: str, value: int | None, needed: int) -> int:
    if value is not None:
        checks.positive_int(name, value, needed)
    return value or needed


def _check_tree(name: str, tree: Tree, arity: int | None) -> tuple[np.ndarray, int]:
    """Returns the height of every node above the leaves under it, and the root."""
    if not hasattr(tree, "__len__"):
        raise checks.fail(name, "a sequence, for each node its children", repr(tree))
    parents: list[int | None] = [None] * len(tree)
    for node, children in enumerate(tree):
        if not hasattr(children, "__len__"):
            raise checks.fail(f"{name}[{node}]", "a sequence of children (`children_of` makes it of parents)", children)
        if arity is not None and len(children) > arity:
            raise checks.fail(f"{name}[{node}]", f"at most {arity} children (`arity`)", len(children))
        for child in children:
            if child is None:
                continue
            if not isinstance(child, numbers.Integral) or not 0 <= child < len(tree):
                raise checks.fail(f"{name}[{node}]", f"integers from 0 to {len(tree) - 1}", repr(child))
            if parents[child] is not None:
                raise checks.fail(name, "one parent for a node", f"{parents[child]} and {node} for node {child}")
            parents[child] = node
    order = [node for node, parent in enumerate(parents) if parent is None]
    if len(order) != 1:
        raise checks.fail(name, "a tree with one root", f"{len(tree)} nodes, roots {order}")
    for node in order:  # grows as it goes, parents before their children
        order.extend(child for child in tree[node] if child is not None)
    if len(order) < len(tree):
        raise checks.fail(name, "no cycle", f"one among nodes {sorted(set(range(len(tree))) - set(order))}")
    heights = np.zeros(len(tree), int)
    for node in reversed(order[1:]):
        heights[parents[node]] = max(heights[parents[node]], heights[node] + 1)
    return heights, order[0]


def run(cell: TreeLSTM, params: TreeLSTMParams, xs: Array, forest: Forest) -> LSTMCarry:
    """Runs a Tree-LSTM from the leaves to the roots; returns every node's h and c, `[nodes, hidden_size]`.

    They have the dtype of `xs`; between children and parents they stay in float32 or better.

    Args:
      cell: a `ChildSumTreeLSTM` or an `NaryTreeLSTM`.
      params: the cell's parameters, in the dtype of `xs`.
      xs: inputs, `[nodes, input_size]`, in the forest's order; zeros for nodes without an input of their own, such as
        the inner ones of a constituency tree. Padding is never read, not even NaN, and its h and c are zero.
      forest: what `forest` returned, as it is or as arguments of the jitted function that calls this one.

    Raises:
      ValueError: a wrong shape or dtype, naming the argument, what was expected and what came.
    """
    if not isinstance(cell, TreeLSTM):
        raise checks.fail("cell", "a Tree-LSTM, such as ChildSumTreeLSTM(input_size, hidden_size)", repr(cell))
    if not isinstance(forest, Forest):
        raise checks.fail("forest", "a Forest, as `forests.forest` returns it", checks.describe(forest))
    checks.array("xs", xs)
    nodes, arity = forest.mask.shape[0], forest.children.shape[-1]
    if xs.shape != (nodes, cell.input_size):
        raise checks.fail("xs", f"shape [{nodes}, {cell.input_size}] ([nodes, input_size])", checks.describe(xs))
    if cell.places not in (None, arity):
        raise checks.fail("forest", f"arity {cell.places}, the cell's", arity)
    check_params(cell, params, "xs", xs.dtype)

    # One product for all nodes; padding reads zeros.
    z = cell.from_input(params, _rows(xs, forest.steps))

    def step(carry: LSTMCarry, inputs: tuple[Array, Array, Array]) -> tuple[LSTMCarry, None]:
        z, to, children = inputs
        new = cell.join(params, z, _rows(carry.h, children), _rows(carry.c, children), children < nodes)
        return jax.tree.map(lambda x, v: x.at[to].set(v, mode="drop", unique_indices=True), carry, new), None

    # Wide within the loop: a memory sums over the whole tree.
    zeros = jnp.zeros((nodes, cell.hidden_size), z.dtype)
    carry, _ = lax.scan(step, LSTMCarry(zeros, zeros), (z, jnp.asarray(forest.steps), jnp.asarray(forest.children)))
    return jax.tree.map(lambda v: v.astype(xs.dtype), carry)


def roots(carry: LSTMCarry, forest: Forest) -> LSTMCarry:
    """Returns h and c of the trees' roots, `[trees, hidden_size]`, zero for padding; of any pytree `[nodes, ...]`."""
    return jax.tree.map(lambda x: _rows(x, forest.roots), carry)


def _rows(x: Array, index: Any) -> Array:
    """The rows of `x`, zero where an index is padding."""
    return jnp.asarray(x).at[index].get(mode="fill", fill_value=0)
