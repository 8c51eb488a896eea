"""The simulated learners, the LSTM that predicts them, and the same in 8 bits."""

import numpy as np
import pytest
import torch

from course_lib.ptq import (
    LearnerNet,
    QuantizedLearnerNet,
    dynamic,
    out_of_vocabulary,
    simulate_learners,
    trained_learner_net,
)
from course_lib.ptq.learners import WORDS


@pytest.fixture(scope="module")
def net():
    return trained_learner_net(progress=False)


@pytest.fixture(scope="module")
def exercises():
    return simulate_learners(400, 40, rng=np.random.default_rng(99))


def log_loss(p, correct):
    return -np.mean(np.log(np.where(correct, p, 1 - p).astype(np.float64)))


def test_answers_are_right_as_often_as_they_should_be(exercises):
    """Within four standard errors, in each tenth of the probabilities."""
    tenths = np.floor(10 * exercises.probability)
    for tenth in range(10):
        here = tenths == tenth
        p, right = exercises.probability[here], exercises.correct[here]
        assert abs(right.mean() - p.mean()) < 4 * np.sqrt((p * (1 - p)).sum()) / here.sum()


def test_the_same_generator_gives_the_same_learners_and_practice_helps():
    one, two = (simulate_learners(50, 400, rng=np.random.default_rng(3)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two))
    assert one.probability[:, -100:].mean() > one.probability[:, :100].mean() + 0.03


def test_the_network_knows_more_than_the_average_and_less_than_the_truth(net, exercises):
    p = net.predict(exercises.words, exercises.correct)
    constant = np.full(p.shape, exercises.correct.mean())
    truth, ours, average = (log_loss(q, exercises.correct) for q in (exercises.probability, p, constant))
    assert truth < ours < average - 0.5 * (average - truth)     # measured: three quarters of what can be known


def test_an_answer_is_predicted_without_looking_at_it(net, exercises):
    words, correct = exercises.words[:5], exercises.correct[:5].copy()
    before, quantized = net.predict(words, correct), QuantizedLearnerNet(net)
    before_8 = quantized.predict(words, correct)
    correct[:, 20] ^= True
    after, after_8 = net.predict(words, correct), quantized.predict(words, correct)
    assert np.array_equal(before[:, :21], after[:, :21]) and (before[:, 21] != after[:, 21]).all()
    assert np.array_equal(before_8[:, :21], after_8[:, :21]) and (before_8[:, 21] != after_8[:, 21]).all()


def test_eight_bits_change_no_prediction_by_a_hundredth(net, exercises):
    """Measured: 0.005 at most. As good: the log loss moves by less than a thousandth."""
    p, p8 = (one.predict(exercises.words, exercises.correct) for one in (net, QuantizedLearnerNet(net)))
    assert 0 < np.abs(p8 - p).max() < 0.01 and p8.dtype == np.float32
    assert abs(log_loss(p8, exercises.correct) - log_loss(p, exercises.correct)) < 1e-3


def test_its_products_are_on_codes_and_a_step_has_two(net, monkeypatch):
    seen, real = [], dynamic.matmul_int8
    monkeypatch.setattr(dynamic, "matmul_int8", lambda w, x: seen.append((w.shape, x.dtype)) or real(w, x))
    quantized = QuantizedLearnerNet(net)
    quantized.step(np.array([3, 4]), np.zeros(2, np.float32), quantized.start(2))
    assert seen == [((512, 192), np.uint8), ((1, 128), np.uint8)]


def test_a_learner_alone_is_predicted_as_in_a_crowd(net, exercises):
    quantized = QuantizedLearnerNet(net)
    crowd = quantized.predict(exercises.words[:20], exercises.correct[:20])
    assert np.array_equal(quantized.predict(exercises.words[7:8], exercises.correct[7:8])[0], crowd[7])


def test_bytes_are_those_of_the_file_and_two_fit_where_one_did(net, tmp_path):
    quantized = QuantizedLearnerNet(net)
    real, small = net.save(tmp_path / "real.safetensors"), quantized.save(tmp_path / "small.safetensors")
    assert small == (tmp_path / "small.safetensors").stat().st_size
    assert 3.7 < real / small < 4                           # codes are a quarter; scales and biases stay
    assert 2 * quantized.nbytes < net.nbytes                # an A/B test in less than one float32 model


def test_new_words_stand_as_unknown(net):
    words, right = np.array([[WORDS, WORDS + 700]]), np.zeros((1, 2), bool)
    same = np.array([[WORDS, WORDS]])
    for one in (net, QuantizedLearnerNet(net)):
        assert np.array_equal(one.predict(words, right), one.predict(same, right))


def test_words_out_of_vocabulary_grow_until_the_refresh():
    """A new word is asked as often as any, on average: of 20 runs, whose first week spreads by half its share."""
    runs = np.array([out_of_vocabulary(24, refresh_every=8, rng=np.random.default_rng(seed)) for seed in range(20)])
    assert not runs[:, ::8].any()
    for week in range(24):
        expected = 25 * (week % 8) / (WORDS + 25 * week)
        assert runs[:, week].mean() == pytest.approx(expected, rel=0.4)
    assert out_of_vocabulary(5, refresh_every=2, new_words=0, rng=np.random.default_rng(0)) == [0] * 5


def test_a_fresh_network_is_that_of_its_generator():
    state = torch.get_rng_state()
    one, two = LearnerNet(), LearnerNet(generator=torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))
    assert torch.equal(state, torch.get_rng_state())


def test_refusals():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="learners=0 must be a whole number, 1 or more"):
        simulate_learners(0, 4, rng=rng)
    with pytest.raises(TypeError, match="rng is a int; it should be a NumPy generator"):
        simulate_learners(1, 4, rng=0)
    with pytest.raises(ValueError, match="refresh_every=0 must be"):
        out_of_vocabulary(3, refresh_every=0, rng=rng)
    with pytest.raises(TypeError, match="net is a Linear; it should be a LearnerNet"):
        QuantizedLearnerNet(torch.nn.Linear(1, 1))
