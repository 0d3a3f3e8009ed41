"""Tasks 2a to 3c and 5 of 1997, and timed spikes of 2002: each sequence is read back, each verdict is NumPy's."""

import functools
import math
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.tasks import GenerateTimedSpikes, LongLagPrediction, Multiplication, TwoSequence, TwoSequenceNoisyTarget
from tests.tasks.test_definitions import assert_even, sequences, symbols

KEY = jax.random.key(11)
LAGS = [LongLagPrediction(6), LongLagPrediction(2), LongLagPrediction(6, regular=False)]


@functools.cache
def draw(task, n):
    return tuple(np.asarray(x) for x in jax.jit(lambda key: task.sample(key, n))(KEY))


def verdicts(task, outputs, targets, mask):
    """Loss, error, correct and solved, compiled as one."""

    def judge(outputs, targets, mask):
        return [measure(outputs, targets, mask) for measure in (task.loss, task.error, task.correct, task.solved)]

    return [np.asarray(x) for x in jax.jit(judge)(np.asarray(outputs, np.float32), targets, mask)]


def assert_gaussian(drawn, variance):
    """Mean, variance and three quantiles, to five standard deviations."""
    drawn = np.asarray(drawn, np.float64).ravel() / variance**0.5
    n = len(drawn)
    assert abs(drawn.mean()) < 5 / n**0.5 and abs(drawn.var() - 1) < 5 * (2 / n) ** 0.5
    for bound in (0.5, 1, 2):
        p = math.erf(bound / 2**0.5)
        assert abs(np.mean(np.abs(drawn) < bound) - p) < 5 * (p * (1 - p) / n) ** 0.5


@pytest.mark.parametrize("task", LAGS, ids=repr)
def test_the_last_symbol_is_the_first_and_those_between_are_in_order_or_drawn(task):
    p, n = task.p, 1000
    inputs, targets, mask = draw(task, n)
    assert mask.all() and mask.shape == targets.shape == (p, n)
    alphabet = [f"a{i}" for i in range(1, p)] + ["x", "y"]
    outer, inner = [], []
    for i in range(n):
        ids = [*symbols(inputs[:, i]), targets[-1, i]]
        assert targets[:, i].tolist() == ids[1:]
        first, *between, last = [alphabet[j] for j in ids]
        assert first == last and len(between) == p - 1
        outer.append(first)
        inner += enumerate(between)
    assert_even(outer, "xy")
    if task.regular:
        assert Counter(inner) == {(i, f"a{i + 1}"): n for i in range(p - 1)}
    else:
        assert_even(inner, [(i, f"a{j}") for i in range(p - 1) for j in range(1, p)])


@pytest.mark.parametrize("task", LAGS, ids=repr)
def test_predictions_are_judged_at_every_step_or_at_the_last(task):
    n, size = 400, task.p + 1
    _, targets, mask = draw(task, n)
    draws = np.random.default_rng(0)
    right = np.eye(size)[targets]
    outputs = draws.normal(size=(task.p, n, size)) + draws.uniform(2, 9, (1, n, 1)) * right
    exp = np.exp(outputs)
    probabilities = exp / exp.sum(-1, keepdims=True)
    judged = slice(None) if task.regular else slice(-1, None)
    off = np.abs(probabilities - right)[judged].max(axis=(0, 2))
    assert np.abs(off - 0.25).min() > 1e-5 and 20 < (off < 0.25).sum() < n - 20
    loss, error, correct, solved = verdicts(task, outputs, targets, mask)
    assert loss == pytest.approx(-np.log((probabilities * right).sum(-1)).mean(), rel=1e-5)
    assert error == pytest.approx((outputs.argmax(-1) != targets)[judged].mean(), abs=1e-6)
    assert np.array_equal(correct, off < 0.25) and not solved

    wrong_once = 9 * right
    wrong_once[0 if task.regular else -1, 3] *= -1
    assert verdicts(task, 9 * right, targets, mask)[-1] and not verdicts(task, wrong_once, targets, mask)[-1]
    elsewhere = 9 * right
    elsewhere[0] *= -1
    assert verdicts(task, elsewhere, targets, mask)[-1] != task.regular


@pytest.mark.parametrize("task", LAGS, ids=repr)
def test_chance_is_all_that_can_be_had_without_the_first_symbol(task):
    n = 20_000
    _, targets, mask = draw(task, n)
    answers = targets.copy()
    answers[-1] = task.p  # always y
    _, error, correct, solved = verdicts(task, 20 * np.eye(task.p + 1)[answers], targets, mask)
    judged = task.p if task.regular else 1
    assert error == pytest.approx(task.chance, abs=5 * 0.5 / n**0.5 / judged) and not solved
    assert correct.mean() == pytest.approx(0.5, abs=5 * 0.5 / n**0.5)
    assert task.t_max == task.time == task.length == task.p


@pytest.mark.parametrize(
    "task",
    [
        TwoSequence(30),
        TwoSequence(20, 1, noisy_signal=True),
        TwoSequence(4, noisy_signal=True),
        TwoSequenceNoisyTarget(11, 1),
        TwoSequenceNoisyTarget(20).noise_free,
    ],
    ids=repr,
)
def test_two_sequences(task):
    signals = task.signals
    lengths, classes, noise, signal_noise, last_noise, target_noise = [], [], [], [], [], []
    of_class = {1: 1.0, -1: 0.0} if isinstance(task, TwoSequence) else {1: 0.2, -1: 0.8}
    for inputs, answer in sequences(task):
        sign = int(min(of_class, key=lambda sign: abs(of_class[sign] - answer)))
        if getattr(task, "noisy_target", False):
            sign = int(inputs[0, 0])
        lengths.append(len(inputs))
        classes.append(sign)
        signal_noise.append(inputs[:signals, 0] - sign)
        noise.extend(inputs[signals:, 0])
        last_noise.append(inputs[-1, 0])
        target_noise.append(answer[0] - np.float32(of_class[sign]))
    assert_even(lengths, range(task.length, task.length + task.length // 10 + 1))
    assert_even(classes, (1, -1))
    assert_gaussian(noise, 0.2)
    if getattr(task, "noisy_signal", False):
        assert_gaussian(signal_noise, 0.2)
        assert_gaussian(np.sum([*np.transpose(signal_noise), last_noise], axis=0), 0.2 * (signals + 1))  # independent
        assert_gaussian(np.sum(signal_noise, axis=1) * classes, 0.2 * signals)
    else:
        assert not np.any(signal_noise)
    if getattr(task, "noisy_target", False):
        assert_gaussian(target_noise, 0.1)
        assert_gaussian(np.multiply(target_noise, classes), 0.1)
        assert_gaussian(np.add(target_noise, last_noise), 0.3)
    else:
        assert not np.any(target_noise)


@pytest.mark.parametrize(
    ("task", "tolerance", "wrong"),  # of 512 sequences, how many may be wrong
    [
        (TwoSequence(9), 0.2, 5),
        (TwoSequence(9, noisy_signal=True), 0.2, 11),
        (TwoSequenceNoisyTarget(9).noise_free, 0.1, 5),
    ],
    ids=repr,
)
def test_classes_count_as_correct_by_the_papers_measure(task, tolerance, wrong):
    _, targets, mask = draw(task, 512)
    assert np.array_equal(np.unique(targets[mask]), np.array([0, 1] if tolerance == 0.2 else [0.2, 0.8], np.float32))
    for count, solved in ((wrong, True), (wrong + 1, False)):
        off = np.where(np.arange(512) < count, tolerance + 0.01, 0.01)[:, None]
        loss, error, correct, verdict = verdicts(task, np.where(mask[..., None], targets - off, np.nan), targets, mask)
        assert np.array_equal(correct, np.arange(512) >= count) and verdict == solved
        assert loss == error == pytest.approx(np.mean(off**2), rel=1e-4)
    assert verdicts(task, targets + (tolerance - 0.01), targets, mask)[2].all()


def test_expected_targets_must_be_met_within_0_015_on_average():
    task = TwoSequenceNoisyTarget(9).noise_free
    _, targets, mask = draw(task, 512)
    assert verdicts(task, targets + 0.0149, targets, mask)[-1]
    correct, solved = verdicts(task, targets - 0.0151, targets, mask)[2:]
    assert correct.all() and not solved


def test_noise_on_targets_is_all_that_the_noise_free_task_lacks():
    task = TwoSequenceNoisyTarget(9)
    noisy, clean = draw(task, 500), draw(task.noise_free, 500)
    assert np.array_equal(noisy[0], clean[0]) and not np.array_equal(noisy[1], clean[1])
    error = verdicts(task, clean[1], noisy[1], noisy[2])[1]
    assert error == pytest.approx(0.1, abs=5 * 0.1 * (2 / 500) ** 0.5)  # the best there is: the variance of the noise


@pytest.mark.parametrize("length", [11, 40])
def test_multiplication(length):
    n, window = 4000, length // 2 - 1  # pairs that the second mark chooses from
    lengths, values, answers, pairs = [], [], [], Counter()
    for inputs, answer in sequences(Multiplication(length), n):
        numbers, markers = inputs.T.tolist()
        marked = [t for t, marker in enumerate(markers) if marker == 1]
        assert len(marked) == 2 and marked[0] < 10
        assert all(m == (-1 if t in (0, len(markers) - 1) else 0) for t, m in enumerate(markers) if t not in marked)
        assert min(numbers) >= 0 and max(numbers[1:]) < 1
        assert (numbers[0] == 1) == (0 in marked)
        assert answer == np.prod(inputs[marked, 0], dtype=np.float32)
        lengths.append(len(markers))
        values += numbers[1:]
        answers.append(answer[0])
        pairs[tuple(marked)] += 1
    assert_even(lengths, range(length, length + length // 10 + 1))
    assert_even([int(10 * value) for value in values], range(10))
    expected = Counter()
    for first in range(10):
        for second in [t for t in range(length) if t != first][:window]:
            expected[tuple(sorted((first, second)))] += n / (10 * window)
    assert set(pairs) <= set(expected)
    assert all(abs(pairs[marked] - count) < 5 * count**0.5 + 1 for marked, count in expected.items())
    assert np.mean(answers) == pytest.approx(Multiplication(length).mean, abs=5 * 0.3 / n**0.5)
    assert np.var(answers) == pytest.approx(Multiplication(length).chance, rel=0.1)


def test_chance_of_products_is_the_variance_of_a_product():
    far = Multiplication(10**6)  # the second mark hardly ever falls on the first pair, the first one in 1 of 10
    assert far.mean == pytest.approx(0.9 / 4 + 0.1 / 2, abs=1e-5)
    assert far.chance == pytest.approx(0.9 / 9 + 0.1 / 3 - far.mean**2, abs=1e-5)


def test_products_and_classes_are_of_the_rounded_inputs():
    for inputs, answer in sequences(Multiplication(20), 100, jnp.bfloat16):
        assert answer.dtype == np.float32 and answer == np.prod(inputs[inputs[:, 1] == 1, 0].astype(np.float32))


@pytest.mark.parametrize(
    "task", [GenerateTimedSpikes(), GenerateTimedSpikes(4, (0, 3, 10), 7), GenerateTimedSpikes(1, (2, 0), 1)], ids=repr
)
def test_spikes_come_after_as_many_steps_as_the_inputs_say(task):
    n = 1 + 3000 // task.spikes
    inputs, targets, mask = draw(task, n)
    assert len(mask) == task.time == task.spikes * (task.length + max(task.delays))
    delays = []
    for i in range(n):
        x, y = inputs[:, i, 0].tolist(), targets[:, i, 0].tolist()
        for _ in range(task.spikes):
            delay = int(x[0])
            steps = task.length + delay
            assert x[:steps] == [delay] * steps and y[:steps] == [0] * (steps - 1) + [1]
            x, y = x[steps:], y[steps:]
            delays.append(delay)
        assert not any(x) and not any(y) and mask[:, i].tolist() == [True] * (task.time - len(x)) + [False] * len(x)
    assert_even(delays, task.delays)


def test_generated_spikes_are_the_inputs_of_the_inverse_task():
    task = GenerateTimedSpikes(3, (0, 2), 5)
    inputs, targets, _ = draw(task, 50)
    spikes, delays, at_spike = draw(task.inverse, 50)
    assert np.array_equal(targets, spikes) and np.array_equal(inputs[at_spike], delays[at_spike])
    assert task.t_max == task.inverse.t_max == 5


def test_chance_of_spikes_is_the_best_answer_to_the_present_input():
    task = GenerateTimedSpikes(2, (0, 1, 5), 4)
    inputs, targets, mask = draw(task, 20_000)
    present, spikes = inputs[mask][:, 0], targets[mask][:, 0]
    best = {delay: spikes[present == delay].mean() for delay in task.delays}  # the least squares fit
    fitted = np.vectorize(best.__getitem__, otypes=[float])(present)
    assert task.chance == pytest.approx(np.mean((spikes - fitted) ** 2), rel=0.01)
    assert task.chance < 0.98 * spikes.var()  # what the best constant gets
    steady = GenerateTimedSpikes(10, (0, 1))
    assert steady.chance == pytest.approx((9 / 10 + 10 / 11) / 21)


def test_one_spike_out_of_tolerance_is_enough():
    task = GenerateTimedSpikes(5, (0, 1, 2), 4)
    _, targets, mask = draw(task, 20)
    last = np.flatnonzero(mask[:, 3])[-1]
    for step, off, right in ((last, -0.48, True), (last, -0.5, False), (0, 0.48, True), (0, 0.5, False)):
        outputs = np.where(mask[..., None], targets, np.float32(np.nan))
        outputs[step, 3] += off
        loss, error, correct, solved = verdicts(task, outputs, targets, mask)
        assert solved == right and np.array_equal(correct, (np.arange(20) != 3) | right)
        assert loss == error == pytest.approx(off**2 / mask.sum(), rel=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LongLagPrediction(1), "`p` must be an integer of at least 2; got 1"),
        (lambda: LongLagPrediction(regular=1), "`regular`: expected True or False, got 1"),
        (lambda: TwoSequence(signals=0), "`signals` must be an integer of at least 1; got 0"),
        (lambda: TwoSequence(3), "`length` must be an integer of at least 4; got 3"),
        (lambda: TwoSequence(noisy_signal=0.2), "`noisy_signal`: expected True or False, got 0.2"),
        (lambda: TwoSequenceNoisyTarget(noisy_target=0.1), "`noisy_target`: expected True or False, got 0.1"),
        (lambda: TwoSequenceNoisyTarget(1, 1), "`length` must be an integer of at least 2; got 1"),
        (lambda: Multiplication(10), "`length` must be an integer of at least 11; got 10"),
        (lambda: GenerateTimedSpikes(0), "`length` must be an integer of at least 1; got 0"),
        (lambda: GenerateTimedSpikes(delays=(1,)), "`delays` must be a tuple of at least two different integers"),
        (lambda: GenerateTimedSpikes(spikes=0), "`spikes` must be an integer of at least 1; got 0"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match="^" + message.replace(".", r"\.")):
        call()
