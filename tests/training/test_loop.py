"""The loop: exact resume, metrics, errors, signals."""

import os
import signal
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.training import NonFiniteLossError, clipped_sgd, fit, init_state, latest_step, make_step, restore
from tests.training.runs import assert_same, batches, first_state, lines, step


def trained(directory=None, steps=10, state=None, batches=batches, **options):
    state = first_state() if state is None else state
    return fit(step, state, batches, steps=steps, directory=directory, **{"log_every": 1, **options})


@pytest.mark.parametrize("stops", [[3], [1, 2, 7]])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(tmp_path, stops):
    whole = trained(tmp_path / "whole", checkpoint_every=4)
    for steps in [*stops, 10]:
        parts = trained(tmp_path / "parts", steps=steps, checkpoint_every=4)
    assert_same(parts, whole)
    assert_same(restore(tmp_path / "parts", whole), whole)
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")
    assert len({line["loss"] for line in lines(tmp_path / "whole")}) == 10


def test_runs_under_vmap_resume_too(tmp_path):
    together = jax.vmap(step, in_axes=(0, None))
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(first_state, range(3)))
    for directory, stops in [("whole", [6]), ("parts", [2, 6])]:
        for steps in stops:
            after = fit(together, states, batches, steps=steps, directory=tmp_path / directory, log_every=2)
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")
    assert np.shape([line["loss"] for line in lines(tmp_path / "whole")]) == (3, 3)
    for seed in range(3):
        alone = trained(steps=6, state=first_state(seed))
        np.testing.assert_allclose(after.params["w"][seed], alone.params["w"], rtol=1e-5)


def test_the_numbers_are_those_of_the_step(tmp_path):
    after = trained(tmp_path, steps=3)
    state = first_state()
    for number, line in enumerate(lines(tmp_path, wall_time=True)):
        state, metrics = jax.jit(step)(state, batches(number))
        assert list(line) == ["step", "loss", "grad_norm", "mean", "seconds"] and line["step"] == number + 1
        np.testing.assert_allclose([line[name] for name in metrics], [*metrics.values()], rtol=1e-5)
    np.testing.assert_allclose(after.params["w"], state.params["w"], rtol=1e-5)


def test_the_first_state_stays_usable_and_may_share_arrays():
    shared = jnp.ones(3)

    def tied(params, batch, carry, key):
        return jnp.sum((params["a"] - params["b"] * 2) ** 2), (carry, {})

    sgd = clipped_sgd(0.1)
    state = init_state({"a": shared, "b": shared}, sgd, key := jax.random.key(0))
    fit(make_step(tied, sgd), state, lambda position: None, steps=3)
    assert shared.sum() == 3 and state.step == 0 and jax.random.uniform(key) < 1


def test_cadences(tmp_path):
    trained(tmp_path, steps=11, log_every=4, checkpoint_every=3, keep=None)
    assert [line["step"] for line in lines(tmp_path)] == [4, 8]
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == [3, 6, 9, 11]


def test_steps_are_counted_in_all(tmp_path):
    trained(tmp_path, steps=4)
    assert trained(tmp_path, steps=2).step == 4  # it is there already
    assert trained(steps=0).step == 0
    assert trained(steps=5, state=trained(steps=3)).step == 5


def test_lines_past_the_checkpoint_are_written_anew(tmp_path):
    trained(tmp_path / "whole", steps=6)
    trained(tmp_path / "cut", steps=4, log_every=1)
    seconds = lines(tmp_path / "cut", wall_time=True)[-1]["seconds"]
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "loss": 123.0}\n{"step": 6, "lo')
    trained(tmp_path / "cut", steps=6)
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")
    assert lines(tmp_path / "cut", wall_time=True)[-1]["seconds"] >= seconds
    assert not list((tmp_path / "cut").glob("*.tmp"))


def test_a_metric_that_is_not_finite_is_null(tmp_path):
    sgd = clipped_sgd(0.1)
    one = make_step(lambda params, batch, carry, key: (params**2, (carry, {"ratio": jnp.float32(jnp.nan)})), sgd)
    fit(
        one,
        init_state(jnp.float32(1.0), sgd, jax.random.key(0)),
        lambda _: None,
        steps=1,
        directory=tmp_path,
        log_every=1,
    )
    assert lines(tmp_path)[0]["ratio"] is None


def test_an_existing_run_is_not_started_over(tmp_path):
    trained(tmp_path, steps=2)
    with pytest.raises(FileExistsError, match=r"`directory` must hold no checkpoint with resume=False, got .* step 2"):
        trained(tmp_path, steps=4, resume=False)
    with pytest.raises(ValueError, match=r"`state_like` must have .*\.carry: expected float32\[4\], got float32\[5\]"):
        trained(tmp_path, state=first_state()._replace(carry=jnp.zeros(5)))


@pytest.mark.parametrize("what", ["loss", "gradient", "parameter"])
@pytest.mark.parametrize("bad", [7, 8, 9])
def test_what_is_not_finite_stops_at_its_step_and_is_never_saved(tmp_path, what, bad):
    def objective(params, batch, carry, key):
        loss = params * batch
        if what == "gradient":  # its value is finite, its slope is not
            loss = loss + jnp.sqrt(jnp.where(batch == bad, 0.0, 1.0) * params)
        if what == "loss":
            loss = jnp.where(batch == bad, jnp.nan, 1.0) * loss
        return loss, (carry, {})

    # A rate that overflows on the last step shows in the parameter alone.
    rate = (lambda count: jnp.where(count == bad - 1, jnp.inf, 1e-3)) if what == "parameter" else 1e-3
    sgd = clipped_sgd(rate)
    state = init_state(jnp.float32(1.0), sgd, jax.random.key(0))
    with pytest.raises(NonFiniteLossError, match=f"at step {bad}: .*the last checkpoint is of step") as caught:
        fit(
            make_step(objective, sgd),
            state,
            lambda position: jnp.float32(position + 1),
            steps=20,
            directory=tmp_path,
            checkpoint_every=2,
            log_every=1,
            keep=None,
        )
    assert caught.value.step == bad and isinstance(caught.value, FloatingPointError)
    assert ("parameters are not finite" in str(caught.value)) == (what == "parameter")
    assert latest_step(tmp_path) == (bad - 1) // 2 * 2
    assert jnp.isfinite(restore(tmp_path, state).params)
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, bad))


def test_not_finite_without_a_directory():
    def nan_from_three(position):
        x, y = batches(position)
        return x, y * (np.float32(np.nan) if position >= 2 else np.float32(1))

    with pytest.raises(NonFiniteLossError, match=r"at step 3: loss nan and grad_norm nan; no checkpoint was made"):
        trained(batches=nan_from_three)


@pytest.mark.parametrize(("signum", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_saves_and_leaves(tmp_path, signum, raised):
    def stopped(position):
        if position == 4:
            os.kill(os.getpid(), signum)
        return batches(position)

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(raised) as caught:
        trained(tmp_path / "parts", batches=stopped)
    assert raised is KeyboardInterrupt or caught.value.code == 143
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert latest_step(tmp_path / "parts") == 5
    assert_same(trained(tmp_path / "parts"), trained(tmp_path / "whole"))
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")


def test_an_interrupt_after_a_signal_acts_at_once(tmp_path):
    reached = []

    def stopped(position):
        if position == 4:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            reached.append(position)
        return batches(position)

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, batches=stopped)
    assert not reached and latest_step(tmp_path) is None


def test_without_a_directory_signals_are_left_alone():
    seen = []
    trained(steps=1, batches=lambda position: (seen.append(signal.getsignal(signal.SIGINT)), batches(position))[1])
    assert seen == [signal.getsignal(signal.SIGINT)]


def test_an_ignored_signal_stays_ignored(tmp_path):
    def stopped(position):
        os.kill(os.getpid(), signal.SIGINT)
        return batches(position)

    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert trained(tmp_path, steps=2, batches=stopped).step == 2
    finally:
        signal.signal(signal.SIGINT, previous)


def test_trains_in_another_thread(tmp_path):
    results = []
    thread = threading.Thread(target=lambda: results.append(trained(tmp_path, steps=3)))
    thread.start()
    thread.join()
    assert_same(results[0], trained(steps=3))


def test_an_error_from_the_data_leaves_the_checkpoints(tmp_path):
    def broken(position):
        if position == 5:
            raise LookupError("no such batch")
        return batches(position)

    with pytest.raises(LookupError, match="no such batch"):
        trained(tmp_path / "parts", batches=broken, checkpoint_every=2)
    assert latest_step(tmp_path / "parts") == 4
    assert_same(trained(tmp_path / "parts"), trained())


def test_compiled_once_for_all_calls():
    traced = []

    def loss(params, batch, carry, key):
        traced.append(1)
        return params**2, (carry, {})

    sgd = clipped_sgd(0.1)
    one, state = make_step(loss, sgd), init_state(jnp.asarray(1.0), sgd, jax.random.key(0))
    for steps in (2, 4):
        state = fit(one, state, lambda position: None, steps=steps)
    assert len(traced) == 1


def test_a_bar_on_a_terminal_only(monkeypatch, capsys):
    trained(steps=2)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    trained(steps=2, progress=False)
    assert capsys.readouterr() == ("", "")
    trained(steps=2)
    out, err = capsys.readouterr()
    assert out == "" and "2/2" in err and "loss" in err
