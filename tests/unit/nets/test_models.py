"""The two networks: their sizes, their layers, and where their first weights come from."""

import numpy as np
import pytest
import torch
from torch import nn

from course_lib.nets import LeNet5, LeNet300100

MODELS = [LeNet300100, LeNet5]
PLAIN = {nn.Flatten, nn.Linear, nn.Conv2d, nn.MaxPool2d, nn.ReLU}


@pytest.mark.parametrize(("build", "parameters"), [(LeNet300100, 266_610), (LeNet5, 431_080)])
def test_parameter_counts(build, parameters):
    assert sum(p.numel() for p in build().parameters()) == parameters


@pytest.mark.parametrize("build", MODELS)
def test_layers_are_plain_and_real(build):
    model = build()
    assert type(model) is nn.Sequential
    assert {type(layer) for layer in model} <= PLAIN
    assert all(p.device.type == "cpu" and p.dtype == torch.float32 and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("build", MODELS)
def test_images_to_ten_logits(build):
    assert build()(torch.rand(3, 1, 28, 28)).shape == (3, 10)


def test_flat_images_too():
    model, x = LeNet300100(), torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(model(x), model(x.reshape(3, 784)))


def test_lenet5_is_the_caffe_form():
    shapes = [tuple(p.shape) for p in LeNet5().parameters() if p.ndim > 1]
    assert shapes == [(20, 1, 5, 5), (50, 20, 5, 5), (500, 800), (10, 500)]


@pytest.mark.parametrize("build", MODELS)
def test_first_weights_come_from_the_generator_alone(build):
    def weights(seed):
        return torch.cat([p.flatten() for p in build(generator=torch.Generator().manual_seed(seed)).parameters()])

    before = torch.get_rng_state()
    first, again, other = weights(1), weights(1), weights(2)
    assert torch.equal(torch.get_rng_state(), before), "torch's global generator was used"
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.cat([p.flatten() for p in build().parameters()]), weights(0))  # the default


def test_first_weights_have_the_scale_they_should():
    weight = LeNet300100().fc1.weight
    assert weight.std().item() == pytest.approx((2 / 784) ** 0.5, rel=0.02)  # He et al. 2015, for a ReLU after it
    assert weight.abs().max() <= (6 / 784) ** 0.5
    assert not LeNet300100().fc1.bias.any()


def test_a_seed_is_no_generator():
    for wrong in (0, 5, np.random.default_rng(0)):
        with pytest.raises(TypeError, match="it should be a torch.Generator, which a seed makes"):
            LeNet5(generator=wrong)
