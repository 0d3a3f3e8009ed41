"""What is counted beside the times: work, parameters, cases."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.contenders import CELLS
from benchmarks.throughput import GRIDS, Settings, cases, count, equal_parameters, flop, parameters


@pytest.mark.parametrize("cell", CELLS)
def test_flop_is_what_xla_counts_for_one_step_of_products(cell):
    made = CELLS[cell](64, 128)
    params = made.init(jax.random.key(0))
    x, h = jnp.ones((32, 64)), jnp.ones((32, 128))
    products = jax.jit(lambda p, x, h: (x @ p.w_x, h @ p.w_h)).lower(params, x, h).compile()
    assert flop(cell, "forward", (32, 10, 64, 128)) == 10 * products.cost_analysis()["flops"]
    assert flop(cell, "training", (32, 10, 64, 128)) == 3 * flop(cell, "forward", (32, 10, 64, 128))


def test_parameters_are_counted():
    # 4 (16 + 1) + 4 * 4 for each gate's two matrices and bias; the GRU has a fourth bias, the RNN one gate
    sizes = {"LSTM": 4 * (3 * 4 + 4 * 4 + 4), "GRU": 3 * (3 * 4 + 4 * 4 + 4) + 4, "RNN": 3 * 4 + 4 * 4 + 4}
    assert {name: parameters(cell(3, 4)) for name, cell in CELLS.items()} == sizes


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("inputs", "hidden"), [(1, 1), (2, 16), (64, 128)])
def test_no_neighbour_is_nearer_in_parameters(cell, inputs, hidden):
    aim = parameters(CELLS["LSTM"](inputs, hidden))
    size = equal_parameters(cell, inputs, hidden)
    off = [abs(parameters(CELLS[cell](inputs, s)) - aim) for s in (size, size + 1, max(1, size - 1))]
    assert off[0] == min(off)
    if cell == "LSTM":
        assert size == hidden


def test_cases_are_every_cell_and_shape_and_some_at_equal_parameters():
    found = list(cases(Settings()))
    equal = [(cell, shape) for cell, shape, by, _ in found if by == "hidden size"]
    assert equal == [(cell, shape) for shape in GRIDS["quick"] for cell in CELLS]
    assert [cell for cell, _, by, _ in found if by == "parameters"] == ["GRU", "RNN"]
    assert count(Settings()) == 2 * len(found) + len(CELLS)
