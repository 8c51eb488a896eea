"""Training in fixed point: every stored number on the grid, reproducible,
the float64 twin equal to torch's autograd."""

import subprocess
import sys

import numpy as np
import pytest

from course_lib.data import load
from course_lib.mixed import FixedPointNet, fixed_point_step, train_fixed_point
from course_lib.numerics import FixedPoint, to_fixed


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def parameters(net):
    return [*net.weights, *net.biases]


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_every_stored_number_is_in_the_format(digits, rounding):
    fixed = FixedPoint(3, 7)
    net, _ = train_fixed_point(digits, fixed, rounding=rounding, hidden=(20, 15), progress=False)
    for stored in [*parameters(net), *net.activations(digits.test_x(50))]:
        assert np.array_equal(stored, np.rint(stored / fixed.epsilon) * fixed.epsilon)
        assert fixed.min <= stored.min() and stored.max() <= fixed.max


@pytest.mark.parametrize("kind", [0, 1], ids=["weights", "biases"])
def test_what_a_step_carries_past_the_ends_of_the_format_stays_there(kind):
    """A step of 10 in a format of −1 to 1 − 1/64: every number ends at the end that the step points to."""
    fixed = FixedPoint(1, 6)

    def keep(x):
        return to_fixed(x, fixed)

    net = FixedPointNet([np.array([[0.25, -0.5]])], [np.array([0.0, 0.5])], keep)
    fixed_point_step(net, np.array([[0.5]]), np.array([0]), 100.0, lambda move: move)
    assert parameters(net)[kind].ravel().tolist() == [fixed.max, fixed.min]


def test_training_at_a_rate_that_is_too_high_saturates(digits):
    fixed = FixedPoint(2, 6)
    net, _ = train_fixed_point(digits, fixed, hidden=(20,), lr=50.0, progress=False)
    for w in net.weights:
        assert fixed.min <= w.min() and w.max() <= fixed.max
        assert np.isin(w, [fixed.min, fixed.max]).any()


def test_in_float64_it_is_gradient_descent(digits):
    torch = pytest.importorskip("torch")
    few = 40
    net, log = train_fixed_point(digits, None, hidden=(12,), epochs=0, progress=False)
    start = [p.copy() for p in parameters(net)]
    images, labels = digits.train_images[:few], digits.train_labels[:few]
    one_batch = type(digits)("digits", images, labels, digits.test_images, digits.test_labels)
    net, log = train_fixed_point(one_batch, None, hidden=(12,), epochs=2, batch_size=few, lr=0.5, progress=False)
    w1, w2, b1, b2 = (torch.tensor(p, requires_grad=True) for p in start)
    x, y = torch.tensor(one_batch.train_x().reshape(few, -1), dtype=torch.float64), torch.tensor(one_batch.train_y())
    for epoch in range(2):
        loss = torch.nn.functional.cross_entropy(torch.relu(x @ w1 + b1) @ w2 + b2, y)
        assert loss.item() == pytest.approx(log.loss[epoch], rel=1e-6)
        slopes = torch.autograd.grad(loss, (w1, w2, b1, b2))
        with torch.no_grad():
            for p, slope in zip((w1, w2, b1, b2), slopes, strict=True):
                p -= 0.5 * slope
    for ours, theirs in zip(parameters(net), (w1, w2, b1, b2), strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-5, atol=1e-8)


def test_the_same_seed_gives_the_same_network_and_another_another(digits):
    def weights(seed):
        options = dict(rounding="stochastic", hidden=(10,), seed=seed, progress=False)
        return train_fixed_point(digits, FixedPoint(8, 8), **options)[0].weights[0]

    assert np.array_equal(weights(3), weights(3))
    assert not np.array_equal(weights(3), weights(4))


def test_modes_share_first_weights_and_order(digits):
    """Only the rounding differs: in a format fine enough, nearest and stochastic end close together."""
    fine = [train_fixed_point(digits, FixedPoint(8, 40), rounding=mode, hidden=(10,), progress=False)
            for mode in ("nearest", "stochastic")]  # fmt: skip
    for a, b in zip(*(parameters(net) for net, _ in fine), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8)


def test_to_the_nearest_loses_the_updates_that_stochastic_rounding_keeps(digits):
    """Six bits behind the point: an update of less than 2^-7 is gone. Six seeds gave 6 to 28 % against 92 to 94 %."""
    options = dict(hidden=(30,), epochs=10, progress=False)
    nearest, lost = train_fixed_point(digits, FixedPoint(8, 6), **options)
    moving, kept = train_fixed_point(digits, FixedPoint(8, 6), rounding="stochastic", **options)
    only_updates, _ = train_fixed_point(digits, FixedPoint(8, 6), update_rounding="stochastic", **options)
    x, y = digits.test_x(), digits.test_y()
    assert lost.lost[-1] > 0.99 > kept.lost[-1]
    assert nearest.evaluate(x, y).value < 0.5
    assert min(net.evaluate(x, y).value for net in (moving, only_updates)) > 0.8


def test_a_gradient_of_zero_is_not_counted_as_lost(digits):
    _, log = train_fixed_point(digits, None, hidden=(10,), progress=False)
    assert log.lost == [0.0] and len(log.loss) == 1


@pytest.mark.parametrize("wrong, words", [
    (dict(batch_size=0), "batch_size=0 must be a whole number from 1 to"),
    (dict(epochs=-1), "epochs=-1"),
    (dict(rounding="sideways"), "rounding"),
])  # fmt: skip
def test_errors_say_what_would_be_right(digits, wrong, words):
    with pytest.raises(ValueError, match=words):
        train_fixed_point(digits, FixedPoint(8, 8), progress=False, **wrong)


def test_needs_no_torch():
    code = "import sys; from course_lib.mixed import train_fixed_point; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


@pytest.mark.parametrize("wrong", [{"epochs": 1.5}, {"epochs": "1"}, {"batch_size": 10.5}, {"hidden": 16}, {"lr": "a"},
                                   {"hidden": (0,)}, {"hidden": (2.5,)}, {"lr": -1}, {"lr": float("nan")}, {"seed": -1},
                                   {"seed": 1.5}])
def test_wrong_arguments_are_named(digits, wrong):
    with pytest.raises(ValueError, match=rf"{next(iter(wrong))}.*(=.* must be|is .*; it should be)"):
        train_fixed_point(digits, FixedPoint(4, 12), progress=False, **wrong)


def test_bytes_and_other_sizes_are_refused_and_do_not_saturate(digits):
    net, _ = train_fixed_point(digits, FixedPoint(4, 12), hidden=(8,), epochs=0, progress=False)
    x = digits.test_x(5)
    with pytest.raises(ValueError, match=r"x has dtype uint8; .*x.astype\(np.float32\) / 255"):
        net((255 * x).astype(np.uint8))
    with pytest.raises(ValueError, match="x has 756 numbers an image, and the network takes 784"):
        net(x[:, :, 1:])
