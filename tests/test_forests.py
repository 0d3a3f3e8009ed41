"""Tree-LSTMs over forests against a float64 recursion written from the paper: values, and gradients by complex step."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

import lstm_jax as lj
from lstm_jax import forests, inits
from lstm_jax.cells.tree_lstm import ChildSumTreeLSTM, NaryTreeLSTM, TreeLSTMParams
from tests.contenders import TOLERANCE, close, cut, in_float64, random_like, random_params, same, weigh
from tests.messages import check_message
from tests.oracle import derivative, gate, sigmoid

CELLS = {
    "child-sum": ChildSumTreeLSTM(3, 4),
    "child-sum-no-bias": ChildSumTreeLSTM(2, 3, use_bias=False),
    "unary": NaryTreeLSTM(3, 2, arity=1),
    "binary": NaryTreeLSTM(3, 4),
    "ternary-no-bias": NaryTreeLSTM(2, 3, arity=3, use_bias=False),
}
every_cell = pytest.mark.parametrize("name", CELLS)
both_cells = pytest.mark.parametrize("name", ["child-sum", "binary"])


def child_sum(params, x, children):
    """Equations 2 to 8 of Tai et al. for one node; `children` are pairs h, c, or None."""
    children = [child for child in children if child is not None]
    size = params.w_x.shape[1] // 4

    def affine(k, h):
        return x @ gate(params.w_x, k, size) + h @ gate(params.w_h, k, size) + gate(params.b, k, size)

    h_sum = sum((h for h, _ in children), np.zeros(size))
    i, o, u = sigmoid(affine(0, h_sum)), sigmoid(affine(3, h_sum)), np.tanh(affine(2, h_sum))
    c = i * u
    for h_k, c_k in children:
        c = c + sigmoid(affine(1, h_k)) * c_k
    return o * np.tanh(c), c


def n_ary(params, x, children):
    """Equations 9 to 14; the U of a column of blocks and of child l is one block of `w_h`."""
    size = params.w_x.shape[1] // 4
    arity = params.w_h.shape[0] // size

    def affine(k, column):
        total = x @ gate(params.w_x, k, size) + gate(params.b, k, size)
        for number, child in enumerate(children):
            if child is not None:
                total = total + child[0] @ gate(params.w_h[number * size : (number + 1) * size], column, size)
        return total

    i, u, o = sigmoid(affine(0, 0)), np.tanh(affine(2, 1 + arity)), sigmoid(affine(3, 2 + arity))
    c = i * u
    for k, child in enumerate(children):
        if child is not None:
            c = c + sigmoid(affine(1, 1 + k)) * child[1]
    return o * np.tanh(c), c


def recursion(cell, params, xs, forest_of):
    """h and c of every node, tree after tree."""
    equations = child_sum if isinstance(cell, ChildSumTreeLSTM) else n_ary
    nodes, start = {}, 0
    for tree in forest_of:

        def visit(node, tree=tree, start=start):
            children = [None if child is None else visit(child) for child in tree[node]]
            nodes[start + node] = equations(params, xs[start + node], children)
            return nodes[start + node]

        for node in range(len(tree)):
            if not any(node in children for children in tree):
                visit(node)
        start += len(tree)
    h, c = zip(*(nodes[k] for k in range(start)), strict=True)
    return np.stack(h), np.stack(c)


def random_tree(random, size, arity=None):
    """A tree of `size` nodes in any order; with an arity, children at random places, None where one is left out."""
    children = [[None] * (arity or size) for _ in range(size)]
    for node in range(1, size):
        places = [(p, k) for p in range(node) for k, child in enumerate(children[p]) if child is None]
        parent, place = places[random.integers(len(places))]
        children[parent][place] = node
    if arity is None:
        children = [[child for child in node if child is not None] for node in children]
    number = random.permutation(size)
    out = [None] * size
    for node, its_children in enumerate(children):
        out[number[node]] = tuple(None if child is None else int(number[child]) for child in its_children)
    return out


def random_forest(seed, sizes, arity=None):
    random = np.random.default_rng(seed)
    return [random_tree(random, size, arity) for size in sizes]


def inputs(cell, nodes, dtype=jnp.float32, seed=7):
    return random_like(jax.ShapeDtypeStruct((nodes, cell.input_size), dtype), seed, scale=1.0)


@functools.partial(jax.jit, static_argnums=0)
def evaluate(cell, params, xs, forest):
    """h, c, and the gradients by params and xs of their weighted sum."""

    def loss(params, xs):
        carry = forests.run(cell, params, xs, forest)
        return weigh(jnp.concatenate(carry, axis=1)), carry  # padding is zero, and comes last

    (_, carry), gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, xs)
    return carry, gradients


def check_against_recursion(cell, params, xs, forest_of, out):
    """`out` is what `evaluate` gave; values entry by entry, gradients along one random direction for each array."""
    nodes = sum(map(len, forest_of))
    carry, gradients = out
    smooth = in_float64((params, xs[:nodes]))
    close(cut(carry, slice(nodes)), recursion(cell, *smooth, forest_of), params.w_x.dtype)
    assert not np.any(cut(carry, slice(nodes, None)))

    def loss(smooth):
        return weigh(np.concatenate(recursion(cell, *smooth, forest_of), axis=1))

    assert not np.asarray(gradients[1][nodes:]).any()
    gradients = (gradients[0], gradients[1][:nodes])
    for path, gradient in jax.tree.leaves_with_path(gradients):
        along = np.random.default_rng(gradient.size).normal(size=gradient.shape)
        direction = jax.tree.map_with_path(lambda p, x: along if p == path else np.zeros(x.shape), smooth)  # noqa: B023
        products = np.asarray(gradient) * along
        error = abs(derivative(loss, smooth, direction) - products.sum())
        assert error <= TOLERANCE[str(gradient.dtype)] * max(1, np.abs(products).sum()), jax.tree_util.keystr(path)


@given(st.sampled_from(sorted(CELLS)), st.lists(st.integers(1, 7), min_size=1, max_size=3), st.integers(0, 99))
def test_any_forest_is_the_recursion(name, sizes, seed):
    """Beside padding that is not a number, and in one compiled program for each cell."""
    cell = CELLS[name]
    forest_of = random_forest(seed, sizes, cell.places)
    with jax.enable_x64(True):
        forest = forests.forest(forest_of, arity=cell.places or 6, width=4, steps=21, nodes=21, trees=3)
        params = random_params(cell, seed, jnp.float64)
        xs = inputs(cell, 21, jnp.float64, seed).at[sum(sizes) :].set(jnp.nan)
        check_against_recursion(cell, params, xs, forest_of, evaluate(cell, params, xs, forest))


@every_cell
def test_one_large_forest(x64, name):
    cell = CELLS[name]
    forest_of = random_forest(1, (40, 1, 25), cell.places)
    forest = forests.forest(forest_of, arity=cell.places)
    params, xs = random_params(cell, dtype=jnp.float64), inputs(cell, 66, jnp.float64)
    check_against_recursion(cell, params, xs, forest_of, evaluate(cell, params, xs, forest))


@both_cells
def test_finite_differences_to_the_second_order(x64, name):
    cell = type(CELLS[name])(2, 2)
    forest = forests.forest(random_forest(2, (5, 3), 2), arity=2, nodes=9)

    @jax.jit
    def loss(params, xs):
        return weigh(forests.run(cell, params, xs, forest))

    arguments = random_params(cell, dtype=jnp.float64), inputs(cell, 9, jnp.float64)
    check_grads(loss, arguments, order=2, modes=["rev", "fwd"], atol=1e-5, rtol=1e-5)


@every_cell
def test_a_node_is_the_equations(x64, name):
    """Any batch shape, and absent children are never read."""
    cell = CELLS[name]
    arity = cell.places or 3
    params = random_params(cell, dtype=jnp.float64)
    x, h, c = (
        random_like(jax.ShapeDtypeStruct(shape, jnp.float64), seed)
        for seed, shape in enumerate([(2, 5, cell.input_size), *[(2, 5, arity, cell.hidden_size)] * 2])
    )
    present = np.random.default_rng(3).random((2, 5, arity)) < 0.5
    present[0, 0], present[1, 1] = True, False
    equations = child_sum if cell.places is None else n_ary

    def expected(where):
        children = [(h[where][k], c[where][k]) if there else None for k, there in enumerate(present[where])]
        return equations(in_float64(params), np.asarray(x)[where], jax.tree.map(np.asarray, children))

    actual = jax.jit(cell.node)(params, x, h, c, present)
    for where in np.ndindex(2, 5):
        close(cut(actual, where), expected(where))
    close(jax.jit(cell.node)(params, x[1, 2], h[1, 2], c[1, 2], present[1, 2]), expected((1, 2)))

    gradient = jax.jit(jax.grad(lambda *a: weigh(cell.node(*a, present)), argnums=(0, 1, 2, 3)))
    absent = ~present[..., None]
    h_nan, c_nan = (jnp.where(absent, jnp.nan, v) for v in (h, c))
    same(jax.jit(cell.node)(params, x, h_nan, c_nan, present), actual)
    same(gradient(params, x, h_nan, c_nan), gradient(params, x, h, c))
    for g in gradient(params, x, h_nan, c_nan)[2:]:
        assert not np.where(absent, g, 0).any() and np.where(absent, 0, g).any()


@pytest.mark.parametrize("cell", [ChildSumTreeLSTM(3, 4), NaryTreeLSTM(3, 4, arity=1)])
def test_a_chain_is_an_lstm(x64, cell):
    """The parameters of the one are the parameters of the other; the last node of the chain is its root."""
    lstm = lj.LSTM(3, 4)
    params, xs = random_params(lstm, dtype=jnp.float64), inputs(cell, 6, jnp.float64)
    forest = forests.forest([forests.children_of([1, 2, 3, 4, 5, -1])])

    def chain(params, xs):
        carry = forests.run(cell, TreeLSTMParams(*params), xs, forest)
        return cut(forests.roots(carry, forest), 0), carry.h

    def sequence(params, xs):
        return lj.scan(lstm, params, xs, implementation="xla")

    close(chain(params, xs), sequence(params, xs))
    close(*(jax.grad(lambda *a, f=f: weigh(f(*a)), argnums=(0, 1))(params, xs) for f in (chain, sequence)))


@every_cell
def test_a_single_node_has_no_past(x64, name):
    cell = CELLS[name]
    params, xs = random_params(cell, dtype=jnp.float64), inputs(cell, 2, jnp.float64)
    forest = forests.forest([[()], [()]], arity=cell.places)
    assert forest.steps.shape == (1, 2)
    without = params._replace(w_h=jnp.full_like(params.w_h, 1e3))  # any U will do
    check_against_recursion(cell, params, xs, [[()], [()]], evaluate(cell, params, xs, forest))
    same(forests.run(cell, without, xs, forest), forests.run(cell, params, xs, forest))


def test_the_order_of_children_matters_to_the_n_ary_only(x64):
    straight, crossed = ([children, (), ()] for children in ((1, 2), (2, 1)))
    for name, alike in (("child-sum", True), ("binary", False)):
        cell = CELLS[name]
        params, xs = random_params(cell, dtype=jnp.float64), inputs(cell, 3, jnp.float64)
        one, other = (forests.run(cell, params, xs, forests.forest([tree])).h for tree in (straight, crossed))
        same(one[1:], other[1:])
        difference = np.abs(one[0] - other[0]).max()
        assert difference < 1e-15 if alike else difference > 1e-2
    # A right child alone is not a left child alone, but for a child-sum the same.
    for name, alike in (("child-sum", True), ("binary", False)):
        cell = CELLS[name]
        params, xs = random_params(cell, dtype=jnp.float64), inputs(cell, 2, jnp.float64)
        left, right = (forests.run(cell, params, xs, forests.forest([[node, ()]], 2)).h for node in ((1,), (None, 1)))
        difference = np.abs(left[0] - right[0]).max()
        assert difference < 1e-15 if alike else difference > 1e-2


@both_cells
def test_a_batch_is_each_tree_alone(x64, name):
    cell = CELLS[name]
    sizes = (6, 1, 9, 4)
    forest_of = random_forest(3, sizes, cell.places)
    params, xs = random_params(cell, dtype=jnp.float64), inputs(cell, sum(sizes), jnp.float64)
    forest = forests.forest(forest_of, arity=cell.places, trees=5)
    carry = forests.run(cell, params, xs, forest)
    roots = forests.roots(carry, forest)
    assert not np.any(cut(roots, 4))
    start = 0
    for number, (size, tree) in enumerate(zip(sizes, forest_of, strict=True)):
        one = forests.forest([tree], arity=cell.places)
        alone = forests.run(cell, params, xs[start : start + size], one)
        close(cut(carry, slice(start, start + size)), alone)
        close(cut(roots, slice(number, number + 1)), forests.roots(alone, one))
        start += size


@both_cells
def test_padding_is_never_read(name):
    cell = CELLS[name]
    forest_of = random_forest(4, (5, 8), cell.places)
    params, xs = random_params(cell), inputs(cell, 20)
    tight = evaluate(cell, params, xs[:13], forests.forest(forest_of, arity=cell.places))
    loose = forests.forest(forest_of, arity=cell.places or 7, width=3, steps=15, nodes=20, trees=4)
    out = evaluate(cell, params, xs, loose)
    for poison in (jnp.nan, jnp.inf):
        same(evaluate(cell, params, xs.at[13:].set(poison), loose), out)
    carry, (params_gradient, xs_gradient) = out
    close((cut(carry, slice(13)), (params_gradient, xs_gradient[:13])), tight)
    assert not np.asarray(xs_gradient[13:]).any() and not np.any(cut(carry, slice(13, None)))
    assert loose.mask.tolist() == [True] * 13 + [False] * 7


@both_cells
def test_the_width_of_a_step_changes_no_number(x64, name):
    cell = CELLS[name]
    forest_of = random_forest(5, (12, 7), cell.places)
    params, xs = random_params(cell, dtype=jnp.float64), inputs(cell, 19, jnp.float64)
    default = forests.forest(forest_of, arity=cell.places)
    expected = evaluate(cell, params, xs, default)
    for width in (1, 2, 5, 19):
        forest = forests.forest(forest_of, arity=cell.places, width=width)
        assert forest.steps.shape[1] == width
        close(evaluate(cell, params, xs, forest), expected)


def test_the_default_width_wastes_little():
    for seed in range(20):
        forest_of = random_forest(seed, np.random.default_rng(seed).integers(1, 30, 5), None if seed % 2 else 2)
        levels = len(forests.forest(forest_of, width=200).steps)
        nodes = sum(map(len, forest_of))
        steps, width = forests.forest(forest_of).steps.shape
        assert levels <= steps <= 2 * levels and steps * width <= 2 * nodes + levels


def test_a_forest_in_full():
    """Every node once, after its children; what is left over points beyond the nodes."""
    forest = forests.forest([[(1, 2), (), (3,), ()], [()]], 2, width=2, steps=6, nodes=7, trees=3)
    assert forest.steps.tolist() == [[1, 3], [4, 8], [2, 8], [0, 8], [7, 8], [7, 8]]
    assert forest.children[:4].tolist() == [[[7, 7], [7, 7]], [[7, 7], [7, 7]], [[3, 7], [7, 7]], [[1, 2], [7, 7]]]
    assert (forest.children[4:] == 7).all() and forest.children.shape == (6, 2, 2)
    assert forest.roots.tolist() == [0, 4, 7]
    assert forest.mask.tolist() == [True] * 5 + [False] * 2
    same(
        forests.forest([[(1, 2), (), (3,), ()], [()]]),
        forests.forest([forests.children_of([-1, 0, 0, 2]), [[]]], arity=2),
    )


@both_cells
def test_forests_of_equal_sizes_compile_once(name):
    cell = CELLS[name]
    traces = []

    @jax.jit
    def loss(params, xs, forest):
        traces.append(cell)
        return weigh(forests.roots(forests.run(cell, params, xs, forest), forest))

    params, xs = random_params(cell), inputs(cell, 20)
    for seed in range(3):
        forest_of = random_forest(seed, (4 + seed, 9), 2)
        loss(params, xs, forests.forest(forest_of, 2, width=4, steps=16, nodes=20, trees=2))
    assert len(traces) == 1


@both_cells
def test_vmap_over_seeds_inputs_and_forests(x64, name):
    cell = CELLS[name]
    sizes = {"arity": cell.places or 5, "width": 3, "steps": 9, "nodes": 9, "trees": 2}
    several = [forests.forest(random_forest(seed, (5, 3), cell.places), **sizes) for seed in range(2)]
    params = [random_params(cell, seed, jnp.float64) for seed in range(2)]
    xs = [inputs(cell, 9, jnp.float64, seed) for seed in range(2)]
    arguments = [jax.tree.map(lambda *x: jnp.stack(x), *pair) for pair in (params, xs, several)]
    for axes in [(0, None, None), (None, 0, None), (0, 0, None), (None, None, 0), (0, 0, 0)]:
        mapped = jax.vmap(functools.partial(evaluate, cell), axes)
        taken = [a if axis == 0 else cut(a, 0) for a, axis in zip(arguments, axes, strict=True)]
        actual = mapped(*taken)
        for number in range(2):
            here = [cut(a, number) if axis == 0 else a for a, axis in zip(taken, axes, strict=True)]
            close(cut(actual, number), evaluate(cell, *here))


@both_cells
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_dtypes(name, dtype):
    cell = CELLS[name]
    forest_of = random_forest(6, (9, 4), cell.places)
    forest = forests.forest(forest_of, arity=cell.places, nodes=14)
    params, xs = random_params(cell, dtype=dtype), inputs(cell, 14, dtype)
    carry, gradients = evaluate(cell, params, xs, forest)
    assert {str(x.dtype) for x in jax.tree.leaves((carry, gradients))} == {dtype}
    close(cut(carry, slice(13)), recursion(cell, *in_float64((params, xs)), forest_of), dtype)
    wide = jax.tree.map(lambda x: x.astype(jnp.float32), (params, xs))
    close(gradients, evaluate(cell, *wide, forest)[1], dtype, scale=2)
    h, c = (x[None, :1].repeat(cell.places or 2, axis=1) for x in carry)
    node = cell.node(params, xs[:1], h, c, jnp.ones(h.shape[:2], bool))
    assert {str(x.dtype) for x in node} == {dtype}


@both_cells
def test_a_bfloat16_memory_sums_over_the_whole_tree(name):
    """Leaf after leaf adds 1/1024 to a memory, which is stuck at 1/4 in bfloat16, whose next number is 1/4 + 1/512."""
    cell = type(CELLS[name])(1, 1)
    inner = [(node + 1, node + 513) for node in range(512)]  # a chain, each node with a leaf beside it
    forest = forests.forest([[*inner, *[()] * 513]], 2)
    wide_open = 20.0
    params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), jnp.bfloat16))
    params = params._replace(
        w_x=params.w_x.at[0, 2].set(2**-9),
        b=jnp.array([wide_open, wide_open, 0.0, wide_open], jnp.bfloat16),
    )
    xs = jnp.zeros((1025, 1), jnp.bfloat16).at[513:].set(1)  # inner nodes have no input
    memory = forests.roots(forests.run(cell, params, xs, forest), forest).c
    assert memory.dtype == jnp.bfloat16 and float(memory[0, 0]) == pytest.approx(1.0, rel=1e-2)


def test_numpy_arrays_are_welcome():
    cell = CELLS["binary"]
    params, xs = random_params(cell), inputs(cell, 3)
    forest = forests.forest([[(1, 2), (), ()]])
    expected = forests.run(cell, params, xs, forest)
    same(forests.run(cell, *jax.tree.map(np.asarray, (params, xs)), forest), expected)
    same(forests.roots(jax.tree.map(np.asarray, expected), forest), forests.roots(expected, forest))


def test_fresh_parameters():
    key = jax.random.key(0)
    params = ChildSumTreeLSTM(3, 4).init(key)
    assert [x.shape for x in params] == [(3, 16), (4, 16), (16,)]
    assert params.b.tolist() == [0] * 4 + [1] * 4 + [0] * 8
    params = NaryTreeLSTM(3, 4, 3, b_init=inits.KeepBias(2.0)).init(key, jnp.bfloat16)
    assert [x.shape for x in params] == [(3, 16), (12, 24), (16,)] and params.w_h.dtype == jnp.bfloat16
    assert params.b.tolist() == [0] * 4 + [2] * 4 + [0] * 8
    assert NaryTreeLSTM(3, 4, use_bias=False).init(key).b is None
    w_h = np.asarray(NaryTreeLSTM(3, 4, 3).init(key).w_h).reshape(3, 4, 6, 4)
    blocks = [w_h[child, :, column] for child in range(3) for column in range(6)]
    for number, block in enumerate(blocks):  # each orthogonal, no two alike
        np.testing.assert_allclose(block @ block.T, np.eye(4), atol=1e-5)
        assert all(np.abs(block - other).max() > 1e-2 for other in blocks[:number])


def test_equal_cells_are_one():
    assert NaryTreeLSTM(3, 4, 2) == NaryTreeLSTM(3, 4, arity=2) and hash(NaryTreeLSTM(3, 4)) == hash(NaryTreeLSTM(3, 4))
    assert NaryTreeLSTM(3, 4, 1) != ChildSumTreeLSTM(3, 4) != ChildSumTreeLSTM(3, 4, use_bias=False)


KEY = jax.random.key(0)
CELL = CELLS["binary"]
PARAMS = CELL.init(KEY)
FOREST = forests.forest([[(1, 2), (), ()]])
XS = jnp.zeros((3, 3))
X = jnp.zeros((5, 3))
H = jnp.zeros((5, 2, 4))
HERE = jnp.ones((5, 2), bool)


def run(cell=CELL, params=PARAMS, xs=XS, forest=FOREST):
    return forests.run(cell, params, xs, forest)


def node(x=X, h=H, c=H, present=HERE, params=PARAMS, cell=CELL):
    return cell.node(params, x, h, c, present)


# call, argument, what was expected, what came
CASES = {
    # cells
    "hidden_size": (lambda: ChildSumTreeLSTM(3, 0), "hidden_size", "an integer >= 1", "0"),
    "input_size": (lambda: NaryTreeLSTM(2.0, 3), "input_size", "an integer >= 1", "2.0"),
    "arity zero": (lambda: NaryTreeLSTM(2, 3, 0), "arity", "an integer >= 1", "0"),
    "use_bias": (lambda: NaryTreeLSTM(2, 3, use_bias=1), "use_bias", "True or False", "1"),
    "w_h_init": (lambda: ChildSumTreeLSTM(2, 3, w_h_init="orthogonal"), "w_h_init", "an initialiser", "'orthogonal'"),
    "init key": (lambda: CELL.init(0), "key", "a typed key", "int 0"),
    "init dtype": (lambda: CELL.init(KEY, int), "dtype", "a floating-point dtype", "int"),
    "scan": (lambda: lj.scan(CELL, PARAMS, XS), "cell", "a cell, such as LSTM", "NaryTreeLSTM("),
    "recurrent": (lambda: lj.Recurrent(CELL), "cell", "a cell, such as LSTM", "NaryTreeLSTM("),
    "node x": (lambda: node(x=jnp.zeros((5, 4))), "x", "[*batch, 3]", "float32[5, 4]"),
    "node x list": (lambda: node(x=[1.0]), "x", "an array", "[1.0]"),
    "node x dtype": (lambda: node(x=jnp.zeros((5, 3), jnp.bfloat16)), "x", "parameters' dtype float32", "bfloat16"),
    "node params": (lambda: node(params=None), "params", "TreeLSTMParams(", "None"),
    "node h": (lambda: node(h=H[:, :1]), "h", "float32[5, 2, 4]", "float32[5, 1, 4]"),
    "node h int": (lambda: node(h=H.astype(int)), "h", "a floating-point dtype", "int32"),
    "node c": (lambda: node(c=H[0]), "c", "float32[5, 2, 4]", "float32[2, 4]"),
    "node present": (lambda: node(present=HERE.astype(int)), "present", "bool[5, 2]", "int32[5, 2]"),
    "node places": (lambda: node(present=HERE[:, :1]), "present", "bool[5, 2]", "bool[5, 1]"),
    "node no places": (
        lambda: node(present=HERE[0, 0], cell=CELLS["child-sum"], params=CELLS["child-sum"].init(KEY)),
        "present",
        "bool[5, 1]",
        "bool[]",
    ),
    # forests
    "no trees": (lambda: forests.forest([]), "children", "at least one tree", "[]"),
    "empty tree": (lambda: forests.forest([[()], []]), "children[1]", "a tree with one root", "0 nodes, roots []"),
    "cycle": (lambda: forests.forest([[(1,), (0,)]]), "children[0]", "one root", "2 nodes, roots []"),
    "cycle aside": (lambda: forests.forest([[()], [(), (2,), (1,)]]), "children[1]", "no cycle", "nodes [1, 2]"),
    "own child": (lambda: forests.forest([[(1,), (), (2,)]]), "children[0]", "no cycle", "nodes [2]"),
    "two roots": (lambda: forests.forest([[(2,), (), ()]]), "children[0]", "one root", "roots [0, 1]"),
    "two parents": (lambda: forests.forest([[(1, 2), (2,), ()]]), "children[0]", "one parent", "0 and 1 for node 2"),
    "twice a child": (lambda: forests.forest([[(1, 1), ()]]), "children[0]", "one parent", "0 and 0 for node 1"),
    "child beyond": (lambda: forests.forest([[(1,), (2,)]]), "children[0][1]", "integers from 0 to 1", "2"),
    "child below": (lambda: forests.forest([[()], [(-1,)]]), "children[1][0]", "integers from 0 to 0", "-1"),
    "child float": (lambda: forests.forest([[(1.0,), ()]]), "children[0][0]", "integers from 0 to 1", "1.0"),
    "parents for children": (lambda: forests.forest([[-1, 0]]), "children[0][0]", "`children_of`", "-1"),
    "children for trees": (lambda: forests.forest([(1, 2), (), ()]), "children[0][0]", "a sequence of children", "1"),
    "number for tree": (lambda: forests.forest([3]), "children[0]", "a sequence", "3"),
    "too many": (lambda: forests.forest([[(1, 2, 3), (), (), ()]], 2), "children[0][0]", "at most 2 children", "3"),
    "forest arity": (lambda: forests.forest([[()]], 0), "arity", "an integer >= 1", "0"),
    "forest width": (lambda: forests.forest([[()]], width=0), "width", "an integer >= 1", "0"),
    "forest steps": (lambda: forests.forest([[(1,), ()]], steps=1), "steps", "an integer >= 2", "1"),
    "forest nodes": (lambda: forests.forest([[(1,), ()]], nodes=1), "nodes", "an integer >= 2", "1"),
    "forest trees": (lambda: forests.forest([[()], [()]], trees=1), "trees", "an integer >= 2", "1"),
    "parents beyond": (lambda: forests.children_of([-1, 2]), "parents[1]", "an integer from -1 to 1", "2"),
    "parents none": (lambda: forests.children_of([None]), "parents[0]", "an integer from -1 to 0", "None"),
    # run
    "run cell": (lambda: run(cell=lj.LSTM(3, 4)), "cell", "a Tree-LSTM", "LSTM("),
    "run class": (lambda: run(cell=NaryTreeLSTM), "cell", "a Tree-LSTM", "NaryTreeLSTM"),
    "run params": (lambda: run(params=CELLS["child-sum"].init(KEY)), "params", "w_h=float32[8, 20]", "float32[4, 16]"),
    "run xs": (lambda: run(xs=jnp.zeros((4, 3))), "xs", "[3, 3] ([nodes, input_size])", "float32[4, 3]"),
    "run xs rank": (lambda: run(xs=jnp.zeros((2, 3, 3))), "xs", "[nodes, input_size]", "float32[2, 3, 3]"),
    "run xs list": (lambda: run(xs=[[1.0]]), "xs", "an array", "[[1.0]]"),
    "run xs int": (lambda: run(xs=XS.astype(int)), "xs", "a floating-point dtype", "int32"),
    "run xs dtype": (lambda: run(xs=XS.astype(jnp.float16)), "xs", "the parameters' dtype float32", "float16"),
    "run forest": (lambda: run(forest=[[(1, 2), (), ()]]), "forest", "a Forest", "1"),
    "run arity": (lambda: run(forest=forests.forest([[(1,), (2,), ()]])), "forest", "arity 2, the cell's", "1"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_message_names_argument_expectation_and_what_came(case):
    check_message(*CASES[case])


def test_the_same_errors_under_jit():
    with pytest.raises(ValueError, match=re.escape("`xs`: expected shape [3, 3] ([nodes, input_size]), got float32[4")):
        jax.jit(lambda x, f: run(xs=x, forest=f))(jnp.zeros((4, 3)), FOREST)
