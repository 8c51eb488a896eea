"""The networks: their sizes, their layers, and where their first weights come from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from course_lib.nets import LeNet5, LeNet300100, Residual, SmallResNet, predict, train

MODELS = [LeNet300100, LeNet5, SmallResNet]
PLAIN = {nn.Flatten, nn.Linear, nn.Conv2d, nn.MaxPool2d, nn.ReLU}


@pytest.mark.parametrize(("build", "parameters"), [(LeNet300100, 266_610), (LeNet5, 431_080)])
def test_parameter_counts(build, parameters):
    assert sum(p.numel() for p in build().parameters()) == parameters


@pytest.mark.parametrize("build", MODELS)
def test_layers_are_plain_and_real(build):
    model = build()
    assert type(model) is nn.Sequential
    if build is not SmallResNet:
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
        model = build(generator=torch.Generator().manual_seed(seed))
        return torch.cat([value.flatten() for value in model.state_dict().values()])

    before = torch.get_rng_state()
    first, again, other = weights(1), weights(1), weights(2)
    assert torch.equal(torch.get_rng_state(), before), "torch's global generator was used"
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.cat([value.flatten() for value in build().state_dict().values()]), weights(0))


def test_first_weights_have_the_scale_they_should():
    weight = LeNet300100().fc1.weight
    assert weight.std().item() == pytest.approx((2 / 784) ** 0.5, rel=0.02)  # He et al. 2015, for a ReLU after it
    assert weight.abs().max() <= (6 / 784) ** 0.5
    assert not LeNet300100().fc1.bias.any()


def test_a_seed_is_no_generator():
    for wrong in (0, 5, np.random.default_rng(0)):
        with pytest.raises(TypeError, match="it should be a torch.Generator, which a seed makes"):
            LeNet5(generator=wrong)


# ---- the residual network


def test_the_small_resnet_is_the_form_of_its_paper():
    """Three stages of 8, 16 and 32 channels, 1, 1 and 2 blocks; 1x1 convolutions where the shape changes."""
    model = SmallResNet()
    assert sum(p.numel() for p in model.parameters() if p.ndim > 1) == 37_896
    blocks = [layer for layer in model if isinstance(layer, Residual)]
    assert [block.body.conv2.out_channels for block in blocks] == [8, 16, 32, 32]
    assert [type(block.shortcut) for block in blocks] == [nn.Identity, nn.Sequential, nn.Sequential, nn.Identity]
    x, shapes = torch.zeros(2, 1, 28, 28), []
    for layer in model:
        x = layer(x)
        shapes += [tuple(x.shape[1:])] if isinstance(layer, Residual) else []
    assert shapes == [(8, 28, 28), (16, 14, 14), (32, 7, 7), (32, 7, 7)]


def test_batch_norm_starts_as_the_identity():
    model = SmallResNet().eval()
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 11
    for layer in norms:
        x = torch.randn(2, layer.num_features, 3, 3, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(layer(x), x, rtol=1e-5, atol=1e-5)
        assert layer.num_batches_tracked == 0


@pytest.mark.parametrize("shortcut", [None, nn.Linear(4, 4)])
def test_a_residual_block_adds_and_clips(shortcut):
    body, x = nn.Linear(4, 4), torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    expected = (body(x) + (x if shortcut is None else shortcut(x))).clamp(min=0)
    assert torch.equal(Residual(body, shortcut)(x), expected)
    assert (expected == 0).any() and (expected > 0).any()


def test_weight_decay_leaves_batch_norm_and_biases_alone(digits):
    """It would pull the factors of the batch norms towards zero. In the first step all else is the same."""
    few = replace(digits, train_images=digits.train_images[:32], train_labels=digits.train_labels[:32])
    models = [SmallResNet(), SmallResNet()]
    for model, decay in zip(models, (0.0, 0.5)):
        train(model, few, epochs=1, batch_size=32, weight_decay=decay, progress=False)
    first, second = (dict(model.named_parameters()) for model in models)
    for name, p in first.items():
        assert torch.equal(p, second[name]) == (p.ndim == 1), name


def test_training_moves_the_running_statistics(digits):
    few = replace(digits, train_images=digits.train_images[:64], train_labels=digits.train_labels[:64])
    model = SmallResNet()
    before = model.stem.bn.running_mean.clone()
    train(model, few, epochs=1, batch_size=32, progress=False)
    assert not torch.equal(model.stem.bn.running_mean, before) and not model.training
    after = {key: value.clone() for key, value in model.state_dict().items()}
    predict(model, few.test_x(20))  # in evaluation mode they stand still, and each image is on its own
    assert all(torch.equal(after[key], value) for key, value in model.state_dict().items())
    assert np.array_equal(predict(model, few.test_x(20), batch_size=3), predict(model, few.test_x(20)))
