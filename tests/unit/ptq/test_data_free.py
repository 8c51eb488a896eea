"""Calibration without data: the images have the statistics that batch normalization remembers; nothing is loaded."""

import numpy as np
import pytest
import torch
from torch import nn

from course_lib import data
from course_lib.nets import LeNet300100
from course_lib.ptq import synthesise_images


@pytest.fixture(scope="module")
def model():
    """Two layers with batch normalization, whose statistics are those of some data: blurred noise, dark at the left."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2),
                        nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    x = torch.rand(500, 1, 12, 12)
    x[:, :, :, :6] *= 0.1
    net.train()
    with torch.no_grad():
        for _ in range(60):                                 # running averages take some batches to arrive
            net(nn.functional.avg_pool2d(x, 3, stride=1))
    return net.eval()


def statistics(model, images):
    """Mean and variance of what reaches each batch normalization, measured beside the library."""
    seen = []
    hooks = [layer.register_forward_pre_hook(lambda _, a: seen.append(torch.var_mean(a[0], (0, 2, 3), correction=0)))
             for layer in model if isinstance(layer, nn.BatchNorm2d)]
    with torch.no_grad():
        model(torch.from_numpy(images))
    for hook in hooks:
        hook.remove()
    return seen


def test_the_statistics_are_those_remembered(model):
    """A tenth of a standard deviation from the means, and a tenth of the variances; the noise is far from both."""
    noise, made = (synthesise_images(model, 100, (1, 10, 10), steps=steps, progress=False) for steps in (0, 300))
    apart = {}
    for name, images in (("noise", noise.images), ("made", made.images)):
        apart[name] = max(((mean - norm.running_mean).abs() / norm.running_var.sqrt()).max().item()
                          for (_, mean), norm in zip(statistics(model, images), (model[1], model[4])))
    assert apart["made"] < 0.15 and apart["noise"] > 0.5
    for (var, _), norm in zip(statistics(model, made.images), (model[1], model[4])):
        assert torch.allclose(var, norm.running_var, rtol=0.3)
    assert made.loss[-1] < made.loss[0] / 20 and len(made.loss) == 300 and noise.loss == []


def test_images_are_pixels_of_the_shape_and_the_seeds(model):
    one, two, other = (synthesise_images(model, 3, (1, 12, 10), steps=2, seed=seed, progress=False).images
                       for seed in (0, 0, 1))
    assert one.shape == (3, 1, 12, 10) and one.dtype == np.float32 and 0 < one.min() < one.max() < 1
    assert np.array_equal(one, two) and not np.array_equal(one, other)


def test_nothing_is_loaded(model, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the data set was loaded")

    monkeypatch.setattr(data, "load", refuse)
    synthesise_images(model, 2, (1, 10, 10), steps=2, progress=False)


def test_neither_the_model_nor_torchs_generator_is_touched(model):
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    with torch.inference_mode():                            # and it learns where gradients are switched off
        synthesise_images(model, 2, (1, 10, 10), steps=3, progress=False)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())
    assert not any(layer._forward_pre_hooks for layer in model) and torch.equal(state, torch.get_rng_state())
    assert all(p.requires_grad for p in model.parameters())


def test_refusals(model):
    with pytest.raises(ValueError, match="model has no batch norm with running statistics"):
        synthesise_images(LeNet300100(), 4)
    with pytest.raises(ValueError, match="model has no batch norm with running statistics"):
        synthesise_images(nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False)), 4)
    with pytest.raises(ValueError, match="count=1 must be a whole number, 2 or more"):
        synthesise_images(model, 1)
    with pytest.raises(TypeError, match="model is a dict; it should be an nn.Module"):
        synthesise_images({}, 4)
