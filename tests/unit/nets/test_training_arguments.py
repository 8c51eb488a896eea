"""Each part of the one loop that can be replaced: loss, optimizer, schedule, augmentation, what runs after a step."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from course_lib.nets import LeNet300100, evaluate, train
from course_lib.nets.schedules import constant, cosine
from course_lib.nets.threads import one_thread


@pytest.fixture(scope="module")
def few(digits):
    """300 training images."""
    return replace(digits, train_images=digits.train_images[:300], train_labels=digits.train_labels[:300])


def small():
    generator = torch.Generator().manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.utils.skip_init(torch.nn.Linear, 784, 10))
    with torch.no_grad():
        model[1].weight.normal_(0, 0.03, generator=generator)
        model[1].bias.zero_()
    return model


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def run(few, model=None, **options):
    model = small() if model is None else model
    log = train(model, few, **{"epochs": 2, "batch_size": 50, "progress": False, **options})
    return model, log


@one_thread()
def plain_loop(model, dataset, *, epochs, batch_size, lr, weight_decay, seed):
    """The defaults of ``train``, in as few lines as they take."""
    x, y = torch.from_numpy(dataset.train_x()), torch.from_numpy(dataset.train_y())
    two = [p for p in model.parameters() if p.ndim > 1], [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": two[0], "weight_decay": weight_decay},
                                   {"params": two[1], "weight_decay": 0}], lr=lr, fused=True)  # fmt: skip
    steps = epochs * (len(y) // batch_size)
    shares = [(t + 1) / (0.1 * steps + 1) if t < 0.1 * steps
              else (1 + math.cos(math.pi * (t - 0.1 * steps) / (0.9 * steps))) / 2 for t in range(steps)]  # fmt: skip
    generator, t = torch.Generator().manual_seed(seed), 0
    for _ in range(epochs):
        order = torch.randperm(len(y), generator=generator)
        for chosen in order[: len(y) // batch_size * batch_size].split(batch_size):
            for group in optimizer.param_groups:
                group["lr"] = lr * shares[t]
            optimizer.zero_grad()
            cross_entropy(model(x[chosen]), y[chosen]).backward()
            optimizer.step()
            t += 1
    return model


def test_the_defaults_are_a_plain_loop(few):
    """Not to the last bit: 0.9 n and n − 0.1 n are two numbers. A wrong rate of one step moves weights by 1e-3."""
    settings = dict(epochs=3, batch_size=40, lr=1e-2, weight_decay=0.1, seed=5)
    ours, theirs = LeNet300100(), plain_loop(LeNet300100(), few, **settings)
    train(ours, few, progress=False, **settings)
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=0, atol=1e-5)
    assert (weights(ours) - weights(LeNet300100())).abs().max() > 0.01


def test_what_is_left_out_is_what_is_written_out(few):
    """Each default, given by name, changes no bit; nor does what only looks."""
    before, _ = run(few)
    written, _ = run(few, loss=lambda logits, labels, chosen: cross_entropy(logits, labels), schedule="cosine",
                     augment=lambda x, generator: x, after_step=lambda step: None)  # fmt: skip
    looked, log = run(few, validation=(few.test_x(), few.test_y()), validate_every=1)
    assert torch.equal(weights(before), weights(written)) and torch.equal(weights(before), weights(looked))
    assert len(log.validation) == 12


# ---- loss


def test_the_loss_is_told_which_images_it_sees(few):
    table = torch.from_numpy(few.train_x())
    seen, shown = [], []

    class Watching(torch.nn.Sequential):
        def forward(self, x):
            shown.append(x.detach())
            return super().forward(x)

    def loss(logits, labels, chosen):
        assert logits.shape == (50, 10) and chosen.dtype == torch.int64
        assert torch.equal(labels, torch.from_numpy(few.train_y())[chosen])
        seen.append(chosen)
        return cross_entropy(logits, labels)

    run(few, Watching(small()), loss=loss)
    for chosen, x in zip(seen, shown, strict=True):
        assert torch.equal(table[chosen], x)
    for epoch in (seen[:6], seen[6:]):
        assert torch.equal(torch.cat(epoch).sort().values, torch.arange(300))


def test_a_teacher_can_be_learned_from_by_its_logits_alone(few):
    """The teacher calls every class by the next one's number; a student that heard the labels would not."""
    x = torch.from_numpy(few.train_x())
    teacher, _ = run(few, epochs=20)
    with torch.no_grad():
        known = teacher(x).roll(1, 1)

    def distil(logits, labels, chosen):
        return kl_div(log_softmax(logits, 1), log_softmax(known[chosen], 1), log_target=True, reduction="batchmean")

    student, log = run(few, loss=distil, epochs=20)
    agree = (student(x).argmax(1) == known.argmax(1)).float().mean()
    assert agree > 0.9 and evaluate(student, x, few.train_y()).value < 0.1
    assert log.loss[-1] < 0.2 * log.loss[0]


@pytest.mark.parametrize(("loss", "message"), [
    (lambda z, y, i: cross_entropy(z, y, reduction="none"), r"loss gives a tensor of shape \(50,\); it should give"),
    (lambda z, y, i: float(z.detach().sum()), "loss gives a float"),
    (lambda z, y, i: None, "loss gives a NoneType"),
    (lambda z, y, i: z.detach().sum(), r"loss gives a tensor of shape \(\) without a gradient"),
])
def test_what_is_no_loss(few, loss, message):
    with pytest.raises(ValueError, match=message):
        run(few, loss=loss)


# ---- optimizer, groups and schedule


def test_the_optimizer_is_made_of_the_groups(few):
    """Plain gradient descent at a constant rate, by hand."""
    given = []

    def sgd(groups):
        given.extend(groups)
        return torch.optim.SGD(groups)

    start = weights(small())
    model, _ = run(few, optimizer=sgd, schedule="constant", lr=0.5, weight_decay=0.25, epochs=1, batch_size=300)
    by_hand = small()
    cross_entropy(by_hand(torch.from_numpy(few.train_x())), torch.from_numpy(few.train_y())).backward()
    w, b = by_hand[1].weight, by_hand[1].bias
    moved = torch.cat([(w - 0.5 * (w.grad + 0.25 * w)).flatten(), b - 0.5 * b.grad])
    torch.testing.assert_close(weights(model), moved, rtol=0, atol=1e-6)
    assert (moved - start).abs().max() > 0.01
    assert [(group["lr"], group["weight_decay"]) for group in given] == [(0.5, 0.25), (0.5, 0.0)]


def test_groups_have_their_own_rate_and_the_schedule_scales_each(few):
    seen, made = [], []

    def sgd(groups):
        made.append(torch.optim.SGD(groups))
        return made[0]

    model = small()
    groups = [{"params": [model[1].weight]}, {"params": [model[1].bias], "lr": 0.001, "weight_decay": 0.0}]
    run(few, model, optimizer=sgd, groups=groups, lr=0.1, weight_decay=0.5, epochs=1,
        schedule=lambda step, total: (step + 1) / total,
        after_step=lambda step: seen.append([group["lr"] for group in made[0].param_groups]))  # fmt: skip
    assert seen == [pytest.approx([0.1 * share, 0.001 * share]) for share in np.arange(1, 7) / 6]
    assert [group["weight_decay"] for group in made[0].param_groups] == [0.5, 0.0]


def test_what_is_in_no_group_stays(few):
    model = small()
    run(few, model, groups=[{"params": [model[1].bias]}])
    assert torch.equal(model[1].weight, small()[1].weight) and model[1].bias.abs().min() > 0


def test_the_constant_rate_is_constant():
    assert {constant(step, 100) for step in range(100)} == {1.0}


def test_the_schedule_is_asked_for_each_step_in_turn(few):
    asked = []
    run(few, schedule=lambda step, total: asked.append((step, total)) or 1)
    assert asked == [(step, 12) for step in range(12)]
    named, _ = run(few, schedule="constant")
    called, _ = run(few, schedule=lambda step, total: 1.0)
    half, _ = run(few, schedule=lambda step, total: 0.5, lr=4e-3)
    assert torch.equal(weights(named), weights(called)) and torch.equal(weights(named), weights(half))
    assert not torch.equal(weights(named), weights(run(few)[0]))
    assert torch.equal(weights(run(few)[0]), weights(run(few, schedule=cosine)[0]))


@pytest.mark.parametrize(("wrong", "kind", "message"), [
    ({"schedule": "linear"}, ValueError, "schedule is 'linear'; it should be one of 'cosine', 'constant', or a func"),
    ({"schedule": 0.5}, ValueError, "schedule is 0.5; it should be one of"),
    ({"schedule": lambda step, total: -1.0}, ValueError, r"schedule\(0, 12\)=-1.0 must be a number, 0 or more"),
    ({"optimizer": lambda groups: None}, TypeError, "optimizer gives a NoneType; it should give a torch.optim.Optim"),
    ({"optimizer": "sgd"}, TypeError, "optimizer is 'sgd'; it should be a function$"),
    ({"loss": None}, TypeError, "loss is None; it should be a function$"),
    ({"after_step": 3}, TypeError, "after_step is 3; it should be a function, or None"),
    ({"before_epoch": "x"}, TypeError, "before_epoch is 'x'"),
    ({"augment": True}, TypeError, "augment is True"),
    ({"augment": lambda x, g: x[:10]}, ValueError, r"augment gives torch.float32 \(10, 1, 28, 28\); it should give as"),
    ({"augment": lambda x, g: x.numpy()}, ValueError, "augment gives a ndarray"),
    ({"validation": 0}, ValueError, "validation=0 must be a whole number from 1 to 299"),
    ({"validation": 300}, ValueError, "validation=300 must be a whole number from 1 to 299"),
    ({"validation": 260}, ValueError, "batch_size=50 must be a whole number from 1 to 40"),
    ({"validation": (1, 2, 3)}, ValueError, "validation has 3 parts; it should be images and labels"),
    ({"validation": (np.zeros((3, 1, 28, 28), np.uint8), [1, 2, 3])}, ValueError, "x of validation has dtype uint8"),
    ({"validation": (np.zeros((3, 1, 28, 28), np.float32), [1, 2])}, ValueError, r"shape \(2,\) for 3 images"),
    ({"validation": (np.zeros((3, 1, 28, 28), np.float32), [1.0, 2, 3])}, ValueError, "labels of dtype float64"),
    ({"validate_every": 5}, ValueError, "validate_every=5, and there is nothing to read: pass validation too"),
    ({"validation": 9, "validate_every": 0}, ValueError, "validate_every=0 must be a whole number, 1 or more"),
])
def test_errors_name_the_argument_its_value_and_what_is_right(few, wrong, kind, message):
    with pytest.raises(kind, match=message):
        run(few, **wrong)


# ---- after a step


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, lambda groups: torch.optim.SGD(groups, momentum=0.9)],
                         ids=["AdamW", "momentum"])  # fmt: skip
def test_after_each_step_a_mask_wins_over_what_the_optimizer_remembers(few, optimizer):
    """Half of the weights are cut after the fourth step, when the optimizer has a memory that would move them on."""
    model, steps, moved = small(), [], []
    mask = (torch.arange(7840) % 2).reshape(10, 784).bool()

    def cut(step):
        assert not torch.is_grad_enabled()
        steps.append(step)
        moved.append(bool(model[1].weight[~mask].any()))
        if step >= 3:
            model[1].weight[~mask] = 0

    class Watching(torch.nn.Sequential):
        def forward(self, x):
            if len(steps) > 3:
                assert not model[1].weight[~mask].any()
            return super().forward(x)

    run(few, Watching(model), after_step=cut, optimizer=optimizer, lr=0.01)
    assert steps == list(range(12)) and all(moved)
    assert not model[1].weight[~mask].any() and model[1].weight[mask].abs().min() > 0


def test_weights_stay_in_a_box(few):
    model = small()
    run(few, model, lr=0.5, after_step=lambda step: model[1].weight.clamp_(-0.1, 0.1))
    free, _ = run(few, lr=0.5)
    assert model[1].weight.abs().max() == np.float32(0.1) and free[1].weight.abs().max() > 0.5


# ---- augmentation, and other chance


def noisy(x, generator):
    return x + 0.1 * torch.randn(x.shape, generator=generator)


def test_an_augmentation_is_drawn_from_the_seed_and_leaves_the_order_alone(few):
    orders, states = {}, torch.get_rng_state()

    def watch(name):
        orders[name] = []
        return lambda z, y, chosen: orders[name].append(chosen) or cross_entropy(z, y)

    first, _ = run(few, augment=noisy, seed=3, loss=watch("first"))
    again, _ = run(few, augment=noisy, seed=3)
    without, _ = run(few, seed=3, loss=watch("without"))
    assert torch.equal(weights(first), weights(again)) and not torch.equal(weights(first), weights(without))
    assert torch.equal(torch.cat(orders["first"]), torch.cat(orders["without"]))
    assert torch.equal(states, torch.get_rng_state())


def test_what_one_augmentation_draws_depends_on_the_seed(few):
    drawn = []
    for seed in (0, 0, 1):
        draws = []
        run(few, seed=seed, epochs=1, augment=lambda x, g, to=draws: to.append(torch.rand(1, generator=g).item()) or x)
        assert len(set(draws)) == 6
        drawn.append(draws)
    assert drawn[0] == drawn[1] != drawn[2]


def test_dropout_is_seeded_too(few):
    """It draws from torch's global generator, whatever was drawn from that before; afterwards that is as it was."""
    ends = []
    for before, seed in ((1, 0), (2, 0), (2, 1)):
        torch.manual_seed(before)
        state = torch.get_rng_state()
        model, _ = run(few, torch.nn.Sequential(small()[0], torch.nn.Dropout(0.5), small()[1]), seed=seed)
        assert torch.equal(state, torch.get_rng_state())
        ends.append(weights(model))
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])


# ---- validation


def test_held_out_images_are_in_no_batch_and_are_what_is_read(few):
    seen = []
    model, log = run(few, validation=60, loss=lambda z, y, chosen: seen.append(chosen) or cross_entropy(z, y),
                     batch_size=40, epochs=3)  # fmt: skip
    assert torch.equal(torch.cat(seen).unique(), torch.arange(240))
    assert [reading.step for reading in log.validation] == [6, 12, 18]
    x, y = torch.from_numpy(few.train_x()[240:]), few.train_y()[240:]
    last = log.validation[-1]
    assert last.accuracy == pytest.approx(evaluate(model, x, y).value, abs=0.017)  # one image in a near tie
    assert last.loss == pytest.approx(cross_entropy(model(x), torch.from_numpy(y)).item(), rel=1e-5)


def test_a_pair_is_read_every_so_many_steps_and_at_the_end(few):
    x, y = few.test_x(100), few.test_y(100)
    for labels in (y, y.tolist(), torch.from_numpy(y)):
        model, log = run(few, validation=(x, labels), validate_every=5)
        assert [reading.step for reading in log.validation] == [5, 10, 12]
    losses = [reading.loss for reading in log.validation]
    assert losses[0] > losses[1] > losses[2]
    assert log.validation[-1].accuracy == pytest.approx(evaluate(model, x, y).value, abs=0.011)
    assert len(log.loss) == 2  # training's own log stays one number an epoch


def test_reading_happens_in_evaluation_mode_and_training_goes_on_in_its_own(few):
    modes = []

    class Noted(torch.nn.Identity):
        def forward(self, x):
            modes.append((self.training, len(x)))
            return x

    run(few, torch.nn.Sequential(Noted(), small()), validation=30, batch_size=90, epochs=1, validate_every=1)
    assert modes == [(True, 90), (False, 30)] * 3
