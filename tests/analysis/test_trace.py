"""What trace names, beside the papers' equations step by step, and what its gates do to a memory."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax as lj
from lstm_jax.analysis.trace import READERS, trace
from tests.contenders import CELLS, close, draw, in_float64, same
from tests.oracle import gate, sigmoid
from tests.oracle_cells import layer_norm

TIME, BATCH = 4, (2,)
CASES = [
    *("lstm", "lstm-no-bias", "multiplicative", "peephole", "peephole-nig", "peephole-nfg-no-bias", "peephole-nog"),
    *("peephole-niaf", "peephole-cifg", "np", "full-gate", "gru", "gru-no-bias", "gru-reset-before", "layer-norm-gru"),
    *("elman-relu", "indrnn"),
]


history_of = jax.jit(lambda cell, *a: lj.scan(cell, *a, return_history=True, implementation="xla"), static_argnums=0)
traced = jax.jit(trace, static_argnums=0)


def lstm(name, cell, p, x, before, after):
    """The gates of every LSTM here, from the carry before the step and, for the peephole of o, the memory after."""
    h, c = before[:2]
    if name == "multiplicative":
        h = (x @ p.w_mx) * (h @ p.w_mh)
    present = list(cell.gates)
    seeing = [gate for gate in present if gate != "g"]

    def net(letter, memory=None):
        a = sum(v @ gate(w, present.index(letter), c.size) for v, w in ((x, p.w_x), (h, p.w_h)))
        a = a + gate(p.b, present.index(letter), c.size)
        if letter != "g" and name == "full-gate":
            k = "ifo".index(letter)
            a = a + before[2] @ gate(p.w_g, k, c.size)
        peephole = getattr(p, "p", None)
        return a if memory is None or peephole is None else a + gate(peephole, seeing.index(letter), c.size) * memory

    memories = {"i": c, "f": c, "o": after[1]}
    gates = {k: sigmoid(net(k, memories[k])) if k in present else np.ones(c.size) for k in "ifo"}
    if getattr(cell, "coupled", False):
        gates["i"] = 1 - gates["f"]
    squash = np.tanh if getattr(cell, "input_activation", "tanh") == "tanh" else lambda a: a
    return gates | {"g": squash(net("g"))}


def gru(name, cell, p, x, before, after):
    (h,) = before
    size = h.size
    w_x, w_h, b = ([gate(w, k, size) for k in range(3)] for w in (p.w_x, p.w_h, p.b))
    x, recurrent = [x @ w for w in w_x], [h @ w for w in w_h]
    if name == "layer-norm-gru":
        x = [layer_norm(a, 1e-5) * gate(p.gain_x, k, size) for k, a in enumerate(x)]
        recurrent = [layer_norm(a, 1e-5) * gate(p.gain_h, k, size) for k, a in enumerate(recurrent)]
    r, z = (sigmoid(x[k] + recurrent[k] + b[k]) for k in range(2))
    if cell.reset_after:
        n = np.tanh(x[2] + b[2] + r * (recurrent[2] + (0 if p.b_hn is None else p.b_hn)))
    else:
        n = np.tanh(x[2] + b[2] + (r * h) @ w_h[2])
    return {"r": r, "z": z, "n": n}


def ungated(name, cell, p, x, before, after):
    return {}


@pytest.mark.parametrize("name", CASES)
def test_gates_follow_the_equations_and_carries_are_those_of_scan(x64, name):
    cell = CELLS[name].make(3, 4)
    params, xs, start, *_ = draw(cell, TIME, BATCH, jnp.float64)
    seen = traced(cell, params, xs, start)
    _, (_, history) = history_of(cell, params, xs, start)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(history)]
    equations = lstm if "f" in seen else gru if "z" in seen else ungated
    assert set(seen) == {lstm: set("ifgoch"), gru: set("rznh"), ungated: {"h"}}[equations]
    assert {x.shape for x in seen.values()} == {(TIME, *BATCH, 4)}
    close([seen[k] for k in ("h", "c") if k in seen], leaves[:2])
    p = in_float64(params)
    for b in range(BATCH[0]):
        before = [np.asarray(leaf[b]) for leaf in jax.tree.leaves(start)]
        for t in range(TIME):
            after = [leaf[t, b] for leaf in leaves]
            expected = equations(name, cell, p, np.asarray(xs[t, b]), before, after)
            close({k: seen[k][t, b] for k in expected}, expected)
            before = after


@pytest.mark.parametrize("make", [lj.LSTM, lj.PeepholeLSTM, lj.FullGateLSTM])
def test_open_gates_keep_a_memory_to_the_bit_and_shut_ones_erase_it(make):
    cell = make(3, 4)
    params = cell.init(jax.random.key(0))
    xs, start = draw(cell, 20, (2,))[1:3]
    memory = start.c

    def bias(i, f):
        return params._replace(b=jnp.concatenate([jnp.full(4, value, jnp.float32) for value in (i, f, 0.0, 0.0)]))

    kept = traced(cell, bias(-200.0, 200.0), xs, start)
    assert (kept["f"] == 1).all() and (kept["i"] == 0).all()
    same(kept["c"], jnp.broadcast_to(memory, (20, 2, 4)))
    erased = traced(cell, bias(-200.0, -200.0), xs, start)
    assert (erased["f"] == 0).all() and (erased["c"] == 0).all() and (erased["h"] == 0).all()
    written = traced(cell, bias(200.0, -200.0), xs, start)
    same(written["c"], written["g"])


def test_by_default_a_trace_starts_where_scan_does():
    cell = lj.GRU(3, 4)
    params, xs, *_ = draw(cell, TIME, BATCH)
    seen = traced(cell, params, xs)
    same(seen["h"], history_of(cell, params, xs)[1][1])
    same(seen, traced(cell, params, xs, cell.initial_carry(params, BATCH)))
    assert traced(cell, params, xs[:0])["r"].shape == (0, *BATCH, 4)


def test_every_cell_it_knows_is_tested():
    assert {type(CELLS[name].make(3, 4)) for name in CASES} == set(READERS)


@pytest.mark.parametrize("name", ["zoneout-lstm", "janet", "ntm"])
def test_other_cells_are_refused_by_name(name):
    cell = CELLS[name].make(3, 4)
    with pytest.raises(NotImplementedError, match=re.escape(f"got {cell!r}")):
        trace(cell, None, jnp.zeros((2, 3)))


def test_a_subclass_is_refused_too():
    class Other(lj.LSTM):
        pass

    cell = Other(3, 4)
    with pytest.raises(NotImplementedError, match="trace knows the gates of LSTM, "):
        trace(cell, cell.init(jax.random.key(0)), jnp.zeros((2, 3)))
