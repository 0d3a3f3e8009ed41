"""What every task promises: pure draws, measures that read only the masked steps, honest chance levels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.tasks import (
    MQAR,
    Adding,
    Adding1997,
    Agreement,
    ContinualReber,
    Copy,
    CycleNavigation,
    DelayedRecall,
    Denoise,
    EmbeddedReber,
    GenerateTimedSpikes,
    LongLag,
    LongLagPrediction,
    MeasureSpikeDelay,
    ModularArithmetic,
    Multiplication,
    Parity,
    PeriodicFunction,
    SelectiveCopy,
    TemporalOrder,
    TwoSequence,
    TwoSequenceNoisyTarget,
    VariableCopy,
    WordProblem,
)

AT_END = [TemporalOrder(20), TemporalOrder(20, symbols=3), Adding(20), Adding1997(11), LongLag(10, 4, max_suffix=20)]
AT_END += [TwoSequence(20), TwoSequenceNoisyTarget(20), TwoSequenceNoisyTarget(20).noise_free, Multiplication(11)]
RECALL = [DelayedRecall(10, 5, 3), SelectiveCopy(12, 3, 5), MQAR(12, 3, 10)]
STATE = [
    Parity(12),
    CycleNavigation(20, shortest=15),  # long walks end everywhere alike, and so do long expressions
    ModularArithmetic(41, shortest=21),
    WordProblem(8, shortest=8, group="S3"),
]
LANGUAGE = [Agreement(12), Agreement(13, 10, attractors=2)]
IN_NATS = [Copy(5), VariableCopy(6), Denoise(5)]
GRAMMAR = [EmbeddedReber(20), ContinualReber(15)]
TIMING = [MeasureSpikeDelay(3, (0, 1, 4), spikes=3), PeriodicFunction(10, "rectangle", periods=2)]
TIMING += [GenerateTimedSpikes(10, spikes=3)]
SOME_STEPS = [LongLagPrediction(5), LongLagPrediction(5, regular=False), TwoSequence(20, 1, noisy_signal=True)]
FRACTIONS = AT_END + RECALL + STATE + LANGUAGE
TASKS = FRACTIONS + GRAMMAR + TIMING + IN_NATS + SOME_STEPS
# Those whose targets are class numbers:
LABELLED = [task for task in FRACTIONS + IN_NATS + SOME_STEPS if task.kind == "classification"]
each_task = pytest.mark.parametrize("task", TASKS, ids=repr)
KEYS = jax.random.split(jax.random.key(3))
KEY = KEYS[0]
N = 20_000


@functools.cache
def draw(task):
    return jax.jit(lambda key: task.sample(key, N))(KEY)


@functools.partial(jax.jit, static_argnums=0)
def judge(task, outputs, targets, mask):
    loss, gradient = jax.value_and_grad(task.loss)(outputs, targets, mask)
    return {"loss": loss, "gradient": gradient} | {
        name: getattr(task, name)(outputs, targets, mask) for name in ("error", "correct", "solved")
    }


def perfect(task, targets):
    return 20 * np.eye(task.output_size, dtype=np.float32)[targets] if task in LABELLED else targets


@each_task
def test_shapes_and_dtypes(task):
    for dtype in (jnp.float32, jnp.bfloat16):
        inputs, targets, mask = jax.eval_shape(lambda key, dtype=dtype: task.sample(key, 5, dtype), KEY)
        assert inputs.shape == (task.time, 5, task.input_size) and inputs.dtype == dtype
        assert mask.shape == (task.time, 5) and mask.dtype == bool
        if task in LABELLED:
            assert targets.shape == mask.shape and targets.dtype == jnp.int32
        else:
            assert targets.shape == (*mask.shape, task.output_size) and targets.dtype == jnp.float32


@each_task
def test_draws_are_pure(task):
    mapped = jax.jit(jax.vmap(lambda key: task.sample(key, N)))(KEYS)
    for x, both in zip(draw(task), map(np.asarray, mapped), strict=True):
        assert np.array_equal(x, both[0])
    assert np.array_equal(mapped.inputs[0], mapped.inputs[1]) == isinstance(task, PeriodicFunction)


def test_draws_are_the_same_outside_jit():
    assert all(map(np.array_equal, draw(Adding(20)), Adding(20).sample(KEY, N)))


@each_task
def test_draws_do_not_depend_on_the_precision_mode(task):
    with jax.enable_x64(True):
        same = jax.jit(lambda key: task.sample(key, N))(KEY)
        wide = jax.eval_shape(lambda key: task.sample(key, N, jnp.float64), KEY)
        assert wide.inputs.dtype == jnp.float64
        assert wide.targets.dtype == (jnp.int32 if task in LABELLED else jnp.float64)
        outputs = jax.ShapeDtypeStruct((task.time, N, task.output_size), jnp.float64)
        verdict = jax.eval_shape(functools.partial(judge, task), outputs, wide.targets, wide.mask)
        assert verdict["loss"].dtype == jnp.float64 and verdict["correct"].shape == (N,)
    for a, b in zip(draw(task), same, strict=True):
        assert a.dtype == b.dtype and np.array_equal(a, b)


def test_equal_tasks_compile_once():
    traces = []
    sample = jax.jit(lambda task, key: traces.append(1) or task.sample(key, 2), static_argnums=0)
    sample(Adding(20), KEY)
    sample(Adding(20), KEY)
    assert len(traces) == 1


@each_task
def test_perfect_outputs_solve_whatever_stands_elsewhere(task):
    _, targets, mask = draw(task)
    verdict = judge(task, np.where(mask[..., None], perfect(task, targets), np.float32(np.nan)), targets, mask)
    assert verdict["correct"].shape == (N,) and verdict["correct"].all() and verdict["solved"]
    assert verdict["error"] == 0 and (verdict["loss"] < 1e-6 or task in GRAMMAR)
    assert np.isfinite(verdict["gradient"]).all() and not np.asarray(verdict["gradient"])[~np.asarray(mask)].any()


@each_task
def test_diverged_outputs_solve_nothing(task):
    _, targets, mask = draw(task)
    outputs = np.full((task.time, N, task.output_size), np.nan, np.float32)
    verdict = judge(task, outputs, targets, mask)
    assert not verdict["correct"].any() and not verdict["solved"] and np.isnan(verdict["loss"])


@pytest.mark.parametrize("task", FRACTIONS + TIMING, ids=repr)
def test_chance_is_what_the_best_constant_answer_gets(task):
    _, targets, mask = draw(task)
    if task.kind == "classification":
        constants = np.eye(task.output_size, dtype=np.float32)
        spread = 5 * (task.chance * (1 - task.chance) / N) ** 0.5
    else:
        means = {Adding(20): 1.0, Multiplication(11): Multiplication(11).mean}
        means |= dict(zip(TIMING, (5 / 3, 0.4, 2 / 21), strict=True))
        constants = np.full((1, 1), means.get(task, 0.5), np.float32)
        spread = 0.04 * task.chance
        assert np.mean(np.asarray(targets)[mask]) == pytest.approx(constants[0, 0], abs=0.015)
    for constant in constants:
        verdict = judge(task, np.broadcast_to(constant, (task.time, N, task.output_size)), targets, mask)
        assert verdict["error"] == pytest.approx(task.chance, abs=spread)
        assert not verdict["solved"]


def test_chance_levels():
    assert [TemporalOrder(symbols=2).chance, TemporalOrder(symbols=3).chance, LongLag().chance] == [3 / 4, 7 / 8, 1 / 2]
    assert Adding().chance == 1 / 6 and Adding1997(100).chance == pytest.approx((2 - 0.1 - 0.9 / 49) / 48)


@pytest.mark.parametrize(("task", "tolerance"), [(TASKS[0], 0.3), (TASKS[4], 0.2)])
def test_probabilities_count_as_correct_within_the_papers_tolerance(task, tolerance):
    _, targets, mask = draw(task)
    right, other = (np.eye(task.output_size)[(targets + i) % task.output_size] for i in (0, 1))
    for off, correct in ((tolerance - 0.01, True), (tolerance + 0.01, False)):  # off: what the right class lacks
        outputs = np.log(right * (1 - off) + other * off + 1e-9).astype(np.float32)
        verdict = judge(task, outputs, targets, mask)
        assert (verdict["correct"] == correct).all() and verdict["error"] == 0


@pytest.mark.parametrize("task", [TASKS[2], TASKS[3]], ids=repr)
def test_sums_count_as_correct_within_the_papers_tolerance(task):
    _, targets, mask = draw(task)
    assert judge(task, targets - 0.039, targets, mask)["correct"].all()
    assert not judge(task, targets + 0.041, targets, mask)["correct"].any()


@pytest.mark.parametrize("task", [task for task in FRACTIONS if not isinstance(task, Adding)], ids=repr)
def test_solved_asks_for_99_percent(task):
    _, targets, mask = draw(task)
    for wrong, solved in ((N // 100, True), (N // 100 + 1, False)):
        outputs = np.array(perfect(task, targets))
        outputs[:, :wrong] = np.roll(outputs[:, :wrong], 1, axis=-1) + (task.kind == "regression")
        verdict = judge(task, outputs, targets, mask)
        assert verdict["solved"] == solved and verdict["correct"].sum() == N - wrong
        assert verdict["error"] == pytest.approx(wrong / N, rel=1e-4)


def test_solved_asks_for_a_mean_squared_error_under_a_hundredth():
    _, targets, mask = draw(TASKS[2])
    assert judge(TASKS[2], targets + 0.099, targets, mask)["solved"]
    assert not judge(TASKS[2], targets + 0.101, targets, mask)["solved"]


@pytest.mark.parametrize("task", FRACTIONS + IN_NATS, ids=repr)
def test_chrono_horizon_covers_the_longest_sequence(task):
    assert task.t_max == task.time >= task.length


ERRORS = [
    (lambda: TemporalOrder(9), "`length` must be an integer of at least 10; got 9"),
    (lambda: TemporalOrder(100.0), "`length` must be an integer of at least 10; got 100.0"),
    (lambda: TemporalOrder(100, symbols=4), "`symbols` must be 2 or 3; got 4"),
    (lambda: Adding(1), "`length` must be an integer of at least 2; got 1"),
    (lambda: Adding1997(10), "`length` must be an integer of at least 11; got 10"),
    (lambda: LongLag(0), "`q` must be an integer of at least 1; got 0"),
    (lambda: LongLag(5, 0), "`p` must be an integer of at least 1; got 0"),
    (lambda: LongLag(5, 5, -1), "`max_suffix` must be an integer of at least 0; got -1"),
    (lambda: EmbeddedReber(8), "`length` must be an integer of at least 9; got 8"),
    (lambda: ContinualReber(8), "`length` must be an integer of at least 9; got 8"),
    (lambda: ContinualReber().start(KEY, 0), "`batch_size` must be an integer of at least 1; got 0"),
    (lambda: ContinualReber().advance(ContinualReber().start(KEY, 1), jnp.int32), "`dtype` must be a float dtype; got"),
    (lambda: EmbeddedReber().correct(jnp.zeros((3, 2, 7)), jnp.zeros((3, 2, 6)), None), "`targets` must have the"),
    (lambda: MeasureSpikeDelay(0), "`length` must be an integer of at least 1; got 0"),
    (lambda: PeriodicFunction(2), "`length` must be an integer of at least 3; got 2"),
    (lambda: Adding().sample(KEY, 0), "`batch_size` must be an integer of at least 1; got 0"),
    (lambda: Adding().sample(KEY, 2, jnp.int32), "`dtype` must be a float dtype; got int32"),
    (lambda: LongLag().correct(jnp.zeros((3, 2)), jnp.zeros(3), jnp.ones(3, bool)), "`labels` must have an integer"),
    (lambda: Adding().correct(jnp.zeros((3, 2, 1)), jnp.zeros((3, 2)), jnp.ones((3, 2), bool)), "`targets` must have"),
]


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[message[:30] for _, message in ERRORS])
def test_errors(call, message):
    with pytest.raises(ValueError, match="^" + message.replace(".", r"\.")):
        call()
