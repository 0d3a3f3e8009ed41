"""The oracles of the wider family against each other, against direct evaluations and against other libraries."""

import types

import jax
import numpy as np
import pytest

from tests import oracle
from tests import oracle_cells as cells

D, H, P, S, N, Y = 3, 4, 2, 5, 4, 2  # input, hidden, projection, context, diagonal, output


def lstm_like(hidden=H, gates=4):
    return {"w_x": (D, gates * H), "w_h": (hidden, gates * H), "b": (gates * H,)}


# The step, the shapes of its parameters and the sizes of its carry.
CASES = {
    "peephole": (cells.peephole(), lstm_like() | {"p": (3 * H,)}, (H, H)),
    "no_input_gate": (cells.peephole("i"), lstm_like(gates=3) | {"p": (2 * H,)}, (H, H)),
    "no_forget_gate": (cells.peephole("f"), lstm_like(gates=3) | {"p": (2 * H,)}, (H, H)),
    "no_output_gate": (cells.peephole("o"), lstm_like(gates=3) | {"p": (2 * H,)}, (H, H)),
    "coupled": (cells.peephole(coupled=True), lstm_like(gates=3) | {"p": (2 * H,)}, (H, H)),
    "linear": (cells.peephole(phi=lambda a: a, psi=lambda a: a), lstm_like() | {"p": (3 * H,)}, (H, H)),
    "full_gate": (cells.full_gate, lstm_like() | {"p": (3 * H,), "w_g": (3 * H, 3 * H)}, (H, H, 3 * H)),
    "projected": (cells.projected, lstm_like(P) | {"w_p": (H, P)}, (P, H)),
    "memory_block": (
        cells.memory_block(2, True, np.tanh, np.tanh),
        {"w_x": (D, 3 * H // 2 + H), "w_h": (H, 3 * H // 2 + H), "b": (3 * H // 2 + H,)},
        (H, H),
    ),
    "memory_block_1997": (
        cells.memory_block(2, False, lambda a: 4 * oracle.sigmoid(a) - 2, lambda a: 2 * oracle.sigmoid(a) - 1),
        {"w_x": (D, 2 * H), "w_h": (H, 2 * H), "b": (2 * H,)},
        (H, H),
    ),
    "layer_norm_lstm": (
        cells.layer_norm_lstm(1e-5),
        lstm_like() | {"gain_x": (4 * H,), "gain_h": (4 * H,), "gain_c": (H,), "b_c": (H,)},
        (H, H),
    ),
    "layer_norm_gru": (
        cells.layer_norm_gru(1e-5),
        lstm_like(gates=3) | {"b_hn": (H,), "gain_x": (3 * H,), "gain_h": (3 * H,)},
        (H,),
    ),
    "janet": (cells.janet(1.0), lstm_like(gates=2), (H,)),
    "multiplicative": (cells.multiplicative, lstm_like() | {"w_mx": (D, H), "w_mh": (H, H)}, (H, H)),
    "slstm_sigmoid": (cells.slstm(2, "sigmoid"), lstm_like() | {"w_h": (2, H // 2, 2 * H)}, (H, H, H, H)),
    "slstm_exp": (cells.slstm(2, "exp"), lstm_like() | {"w_h": (2, H // 2, 2 * H)}, (H, H, H, H)),
    "mgu": (cells.mgu, lstm_like(gates=2), (H,)),
    "mgu_flax": (cells.mgu_flax, lstm_like(gates=2) | {"b_hn": (H,)}, (H,)),
    "mut1": (cells.mut1, lstm_like(gates=3) | {"w_h": (H, 2 * H)}, (H,)),
    "mut2": (cells.mut2, lstm_like(gates=3), (H,)),
    "mut3": (cells.mut3, lstm_like(gates=3), (H,)),
    "light_gru": (cells.light_gru(1e-5), lstm_like(gates=2) | {"gain_x": (2 * H,)}, (H,)),
    "indrnn": (cells.indrnn(oracle.relu), {"w_x": (D, H), "u": (H,), "b": (H,)}, (H,)),
    "scrn": (cells.scrn(0.95), lstm_like(gates=1) | {"w_xs": (D, S), "w_sh": (S, H)}, (H, S)),
    "min_lstm": (cells.min_lstm, {"w_x": (D, 3 * H), "b": (3 * H,)}, (H,)),
    "min_gru": (cells.min_gru, {"w_x": (D, 2 * H), "b": (2 * H,)}, (H,)),
    "lru": (
        cells.lru,
        {"nu": (N,), "theta": (N,), "gamma": (N,), "w_x": (D, 2 * N), "w_y": (2 * N, Y), "d": (D, Y)},
        (N, N),
    ),
    "zoneout": (cells.zoneout(oracle.lstm, (0.1, 0.4)), lstm_like(), (H, H)),
}
# What may be left out.
OPTIONAL = {"b", "p", "b_hn", "b_c"}


def draw(name, seed=0, **overrides):
    """The step, its parameters as a dictionary, a carry and an input."""
    step, shapes, sizes = CASES[name]
    rng = np.random.default_rng(seed)
    params = {key: rng.normal(size=shape) for key, shape in shapes.items()} | overrides
    carry = tuple(rng.normal(size=size) for size in sizes)
    if name.startswith("slstm"):
        carry = carry[0], carry[1], np.exp(carry[2]), carry[3]
    return step, params, carry, rng.normal(size=D)


def call(step, params, carry, x):
    carry, y = step(types.SimpleNamespace(**params), carry, x)
    return *carry, y


def same(got, expected):
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def columns(a, *order, size=H):
    """The blocks of columns in another order."""
    return np.concatenate([oracle.gate(a, k, size) for k in order], axis=-1)


def reordered(params, *order):
    return {key: columns(params[key], *order) for key in ("w_x", "w_h", "b")}


@pytest.mark.parametrize("without", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_analytic(name, without):
    """Real numbers stay real, and the complex step is the central difference."""
    step, params, carry, x = draw(name)
    if without:
        params = {key: None if key in OPTIONAL else value for key, value in params.items()}
    real = call(step, params, carry, x)
    assert [leaf.shape for leaf in real[:-1]] == [leaf.shape for leaf in carry]
    assert all(leaf.dtype == np.float64 for leaf in real)

    point = params, carry, x
    imaginary = call(step, *jax.tree.map(lambda a: a.astype(complex), point))
    assert all(leaf.dtype == np.complex128 and not leaf.imag.any() for leaf in imaginary)
    same([leaf.real for leaf in imaginary], real)

    rng = np.random.default_rng(1)
    direction = jax.tree.map(lambda a: rng.normal(size=a.shape), point)
    weights = [rng.normal(size=leaf.shape) for leaf in real]

    def loss(point):
        return sum((w * leaf).sum() for w, leaf in zip(weights, call(step, *point), strict=True))

    there, back = (loss(jax.tree.map(lambda a, v, e=e: a + e * v, point, direction)) for e in (1e-6, -1e-6))
    np.testing.assert_allclose(oracle.derivative(loss, point, direction), (there - back) / 2e-6, rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_every_number_matters(name):
    """Each parameter and each leaf of the carry moves the result."""
    step, params, carry, x = draw(name, seed=2)
    before = np.concatenate(call(step, params, carry, x))
    point, structure = jax.tree.flatten((params, carry, x))
    shift = np.random.default_rng(3).normal(size=100)
    for k in range(len(point)):
        moved = [a + np.resize(shift, a.shape) if j == k else a for j, a in enumerate(point)]
        assert np.abs(np.concatenate(call(step, *jax.tree.unflatten(structure, moved))) - before).max() > 1e-6, k


def test_peephole_without_peepholes_is_the_lstm():
    step, params, carry, x = draw("peephole", p=np.zeros(3 * H))
    same(call(step, params, carry, x), call(oracle.lstm, params, carry, x))
    same(call(step, params | {"p": None}, carry, x), call(oracle.lstm, params, carry, x))


def test_peepholes_are_shifts_of_the_bias():
    step, params, (h, c), x = draw("peephole")
    p_i, p_f, p_o = np.split(params["p"], 3)
    new_c = call(step, params, (h, c), x)[1]
    shifted = params["b"] + np.concatenate([p_i * c, p_f * c, np.zeros(H), p_o * new_c])
    same(call(step, params, (h, c), x), call(oracle.lstm, params | {"b": shifted}, (h, c), x))


@pytest.mark.parametrize(
    ("name", "kept"), [("no_input_gate", "fgo"), ("no_forget_gate", "igo"), ("no_output_gate", "ifg")]
)
def test_an_open_gate_is_a_large_bias(name, kept):
    step, params, carry, x = draw(name)
    full = {}
    for key in ("w_x", "w_h", "b"):
        open_gate = np.full_like(params[key][..., :H], 50.0 if key == "b" else 0)
        full[key] = np.concatenate(
            [oracle.gate(params[key], kept.index(k), H) if k in kept else open_gate for k in "ifgo"], axis=-1
        )
    seeing = [k for k in kept if k != "g"]
    p = [oracle.gate(params["p"], seeing.index(k), H) if k in seeing else np.zeros(H) for k in "ifo"]
    same(call(step, params, carry, x), call(cells.peephole(), full | {"p": np.concatenate(p)}, carry, x))


def test_coupled_gates_are_mirror_images():
    step, params, carry, x = draw("coupled")
    mirrored = {key: np.concatenate([-params[key][..., :H], params[key]], axis=-1) for key in ("w_x", "w_h", "b")}
    p = np.concatenate([-params["p"][:H], params["p"]])
    same(call(step, params, carry, x), call(cells.peephole(), mirrored | {"p": p}, carry, x))
    same(call(step, params | {"p": None}, carry, x), call(oracle.lstm, mirrored, carry, x))


def test_full_gate():
    step, params, (h, c, gates), x = draw("full_gate")
    shift = gates @ params["w_g"]
    b = params["b"] + np.concatenate([shift[: 2 * H], np.zeros(H), shift[2 * H :]])
    new_h, new_c, new_gates, y = call(step, params, (h, c, gates), x)
    same((new_h, new_c, y), call(cells.peephole(), params | {"b": b}, (h, c), x))
    i, f, o = np.split(new_gates, 3)
    a = x @ params["w_x"] + h @ params["w_h"] + b
    same((new_h, new_c), (o * np.tanh(new_c), f * c + i * np.tanh(a[2 * H : 3 * H])))


def test_projection_by_the_identity():
    _, params, carry, x = draw("peephole")
    same(call(cells.projected, params | {"w_p": np.eye(H)}, carry, x), call(oracle.lstm, params, carry, x))


def test_projection_in_torch():
    torch = pytest.importorskip("torch")
    step, params, carry, x = draw("projected")
    module = torch.nn.LSTM(D, H, proj_size=P, dtype=torch.float64)
    values = {"weight_ih_l0": "w_x", "weight_hh_l0": "w_h", "bias_ih_l0": "b", "weight_hr_l0": "w_p"}
    state = {key: torch.from_numpy(params[name].T.copy()) for key, name in values.items()}
    module.load_state_dict(state | {"bias_hh_l0": torch.zeros(4 * H, dtype=torch.float64)})
    with torch.no_grad():
        y, (h, c) = module(torch.from_numpy(x)[None], tuple(torch.from_numpy(leaf)[None] for leaf in carry))
    same(call(step, params, carry, x), (h[0].numpy(), c[0].numpy(), y[0].numpy()))


def test_memory_blocks_of_one_cell_are_the_lstm():
    _, params, carry, x = draw("peephole")
    step = cells.memory_block(1, True, np.tanh, np.tanh)
    same(call(step, reordered(params, 0, 1, 3, 2), carry, x), call(oracle.lstm, params, carry, x))


@pytest.mark.parametrize("name", ["memory_block", "memory_block_1997"])
def test_cells_of_a_block_share_its_gates(name):
    step, params, carry, x = draw(name)
    g, h = (np.tanh, np.tanh) if name == "memory_block" else (lambda a: 2 * np.tanh(a / 2), lambda a: np.tanh(a / 2))
    kept = "ifgo" if name == "memory_block" else "igo"

    def spread(a):
        *gates, cell = np.split(a, range(H // 2, a.shape[-1] - H + 1, H // 2), axis=-1)
        gates = [np.repeat(block, 2, axis=-1) for block in gates]
        return np.concatenate([*gates[:-1], cell, gates[-1]], axis=-1)

    spreaded = {key: spread(params[key]) for key in ("w_x", "w_h", "b")} | {"p": None}
    reference = cells.peephole("" if "f" in kept else "f", phi=g, psi=h)
    same(call(step, params, carry, x), call(reference, spreaded, carry, x))


def test_layer_norm():
    a = np.random.default_rng(0).normal(size=7)
    same([cells.layer_norm(a, 1e-3)], [(a - a.mean()) / np.sqrt(a.var() + 1e-3)])


def test_layer_norm_lstm():
    step, params, (h, c), x = draw("layer_norm_lstm")

    def normal(a, gain):
        a = a.reshape(-1, H)
        a = (a - a.mean(1, keepdims=True)) / np.sqrt(a.var(1, keepdims=True) + 1e-5)
        return a.ravel() * gain

    a = normal(x @ params["w_x"], params["gain_x"]) + normal(h @ params["w_h"], params["gain_h"]) + params["b"]
    i, f, g, o = np.split(a, 4)
    new_c = oracle.sigmoid(f) * c + oracle.sigmoid(i) * np.tanh(g)
    y = oracle.sigmoid(o) * np.tanh(normal(new_c, params["gain_c"]) + params["b_c"])
    same(call(step, params, (h, c), x), (y, new_c, y))


@pytest.mark.parametrize("name", ["layer_norm_gru", "light_gru"])
def test_gains_that_undo_the_normalisation(name):
    """With the standard deviation as gain and the mean in the bias, the layer norm is the identity."""
    _, params, carry, x = draw(name)
    h = carry[0]
    factory = {"layer_norm_gru": cells.layer_norm_gru, "light_gru": cells.light_gru}[name]
    gates = 3 if name == "layer_norm_gru" else 2
    from_x, from_h = ((a @ params[w]).reshape(gates, H) for a, w in ((x, "w_x"), (h, "w_h")))
    undone = {"gain_x": np.repeat(from_x.std(1), H), "gain_h": np.repeat(from_h.std(1), H)}
    mean_x, mean_h = (np.repeat(a.mean(1), H) for a in (from_x, from_h))
    if name == "layer_norm_gru":
        mean_x[: 2 * H] += mean_h[: 2 * H]
        undone["b_hn"] = params["b_hn"] + mean_h[2 * H :]
        reference = call(oracle.gru, params, carry, x)
    else:
        a = (from_x + from_h).ravel() + params["b"]
        z = oracle.sigmoid(a[:H])
        h = z * h + (1 - z) * np.maximum(a[H:], 0)
        reference = h, h
    same(call(factory(0.0), params | undone | {"b": params["b"] + mean_x}, carry, x), reference)


def test_janet():
    step, params, (h,), x = draw("janet")
    a = x @ params["w_x"] + h @ params["w_h"] + params["b"]
    i = 1 / (1 + np.exp(a[:H] - 1.0))  # 1 - sigmoid(s - beta)
    y = h / (1 + np.exp(-a[:H])) + i * np.tanh(a[H:])
    same(call(step, params, (h,), x), (y, y))


def test_multiplicative_is_the_lstm_of_m():
    step, params, (h, c), x = draw("multiplicative")
    m = (params["w_mx"].T @ x) * (params["w_mh"].T @ h)
    same(call(step, params, (h, c), x), call(oracle.lstm, params, (m, c), x))


def slstm_direct(forget, params, h, c, n, x):
    """The paper's equations before the stabiliser, one matrix for all heads; the state is the true one."""
    w_h = np.zeros((H, 4, H))
    half = H // 2
    for e in range(2):
        heads = slice(e * half, (e + 1) * half)
        w_h[heads, :, heads] = params["w_h"][e].reshape(half, 4, half)
    i, f, z, o = np.split(x @ params["w_x"] + h @ w_h.reshape(H, 4 * H) + params["b"], 4)
    f = oracle.sigmoid(f) if forget == "sigmoid" else np.exp(f)
    c, n = f * c + np.exp(i) * np.tanh(z), f * n + np.exp(i)
    return oracle.sigmoid(o) * c / n, c, n


@pytest.mark.parametrize("forget", ["sigmoid", "exp"])
def test_slstm_without_the_stabiliser(forget):
    step, params, carry, x = draw(f"slstm_{forget}")
    h, c, n, m = carry
    for _ in range(3):  # c and n are the true ones times exp(-m)
        expected = slstm_direct(forget, params, h, c * np.exp(m), n * np.exp(m), x)
        h, c, n, m, y = call(step, params, (h, c, n, m), x)
        same((h, c * np.exp(m), n * np.exp(m), y), (*expected, expected[0]))


@pytest.mark.parametrize("forget", ["sigmoid", "exp"])
def test_slstm_from_nothing(forget):
    """The first m is of no account where c = n = 0, nor are large pre-activations."""
    step, params, (h, *_), x = draw(f"slstm_{forget}")
    zero = np.zeros(H)
    for scale in (1, 300):
        scaled = params | {"w_x": scale * params["w_x"]}
        ends = [call(step, scaled, (h, zero, zero, np.full(H, m)), x) for m in (0.0, -3.0, 2.0)]
        assert np.isfinite(ends[0][0]).all()
        assert all((n <= 1).all() for _, _, n, _, _ in ends)  # m is the larger of the two
        if scale == 1:
            for h_next, c, n, _, _ in ends:
                same((h_next, c / n), (ends[0][0], ends[0][1] / ends[0][2]))


def test_log_sigmoid():
    a = np.array([-800.0, -1.0, 0.0, 2.0, 800.0])
    same([cells.log_sigmoid(a)], [-np.logaddexp(0, -a)])


def test_mgu():
    step, params, (h,), x = draw("mgu")
    (w_f, w_n), (u_f, u_n), (b_f, b_n) = (np.split(params[key].T, 2) for key in ("w_x", "w_h", "b"))
    f = oracle.sigmoid(w_f @ x + u_f @ h + b_f)
    y = h + f * (np.tanh(w_n @ x + u_n @ (f * h) + b_n) - h)
    same(call(step, params, (h,), x), (y, y))


def test_mgu_in_flax(x64):
    linen = pytest.importorskip("flax.linen")
    step, params, (h,), x = draw("mgu_flax")

    def dense(k, w, b=None):
        return {"kernel": oracle.gate(params[w], k, H)} | ({} if b is None else {"bias": b})

    b_f, b_n = np.split(params["b"], 2)
    variables = {"if": dense(0, "w_x", b_f), "hf": dense(0, "w_h"), "in": dense(1, "w_x", b_n)}
    variables["hn"] = dense(1, "w_h", params["b_hn"])
    cell = linen.MGUCell(H, param_dtype=np.float64)
    same(call(step, params, (h,), x), cell.apply({"params": variables}, h, x))


def test_mut2_with_a_matrix_is_the_gru():
    """With W x for x, the second mutation is the GRU whose reset comes first."""
    step, params, carry, x = draw("mut2")
    same(call(step, params, carry, x), call(oracle.gru_reset_before, params, carry, x))


def test_mut1_and_mut3():
    for name in ("mut1", "mut3"):
        step, params, (h,), x = draw(name)
        (x_r, x_z, x_n), (b_r, b_z, b_n) = np.split(x @ params["w_x"], 3), np.split(params["b"], 3)
        u_r, *u_z, u_n = np.split(params["w_h"].T, 2 if name == "mut1" else 3)
        r = oracle.sigmoid(x_r + u_r @ h + b_r)
        z = oracle.sigmoid(x_z + b_z + (u_z[0] @ np.tanh(h) if u_z else 0))
        n = np.tanh(u_n @ (r * h) + b_n + (x_n if u_z else np.tanh(x_n)))
        y = n + z * (h - n)
        same(call(step, params, (h,), x), (y, y))


def test_indrnn_is_the_elman_network_with_a_diagonal():
    step, params, carry, x = draw("indrnn")
    diagonal = params | {"w_h": np.diag(params["u"])}
    same(call(step, params, carry, x), call(oracle.elman_relu, diagonal, carry, x))


def test_scrn():
    step, params, (h, s), x = draw("scrn")
    moved = 0.95 * s + 0.05 * (params["w_xs"].T @ x)
    shifted = {"w_x": params["w_x"], "w_h": params["w_h"], "b": params["b"] + moved @ params["w_sh"]}
    new_h, _ = call(oracle.elman_sigmoid, shifted, (h,), x)
    same(call(step, params, (h, s), x), (new_h, moved, np.concatenate([new_h, moved])))


def test_minimal_cells_are_convex_combinations():
    step, params, (h,), x = draw("min_lstm")
    f, i, g = np.split(x @ params["w_x"] + params["b"], 3)
    ratio = (1 + np.exp(-f)) / (1 + np.exp(-i))  # i / f
    y = h + ratio / (1 + ratio) * (g - h)
    same(call(step, params, (h,), x), (y, y))

    step, params, (h,), x = draw("min_gru")
    z, n = np.split(x @ params["w_x"] + params["b"], 2)
    y = h + oracle.sigmoid(-z) * (n - h)  # z is that of the gate that keeps
    same(call(step, params, (h,), x), (y, y))


def test_lru_in_complex_numbers():
    step, params, (re, im), x = draw("lru")
    eigenvalues = np.exp(-np.exp(params["nu"]) + 1j * np.exp(params["theta"]))
    b = params["w_x"][:, :N] + 1j * params["w_x"][:, N:]
    c = params["w_y"][:N] + 1j * params["w_y"][N:]
    state = eigenvalues * (re + 1j * im) + np.exp(params["gamma"]) * (x @ b)
    same(call(step, params, (re, im), x), (state.real, state.imag, (state @ c).real + x @ params["d"]))


def test_zoneout():
    step, params, carry, x = draw("zoneout")
    new = call(oracle.lstm, params, carry, x)
    h, c = 0.1 * carry[0] + 0.9 * new[0], 0.4 * carry[1] + 0.6 * new[1]
    same(call(step, params, carry, x), (h, c, h))
