"""The networks the course compresses: LeNet-300-100, LeNet-5, and a small residual network.

Each is an ``nn.Sequential``, on images (n, 1, 28, 28) in [0, 1], and gives ten logits. The two LeNets are of Flatten,
Linear, Conv2d, MaxPool2d and ReLU, in the sizes of the pruning and quantization papers' tables. The residual network
has what newer networks have: batch normalization, sums of two paths, an average over each channel at the end.

References: LeCun et al. 1998, "Gradient-based learning applied to document recognition"; the LeNet-5 here is the
wider form shipped with Caffe, which Han et al. 2015 ("Deep Compression") compress. He et al. 2016, "Deep residual
learning for image recognition"; Ioffe & Szegedy 2015, "Batch normalization".
"""

from collections import OrderedDict

import torch
from torch import nn

__all__ = ["LeNet300100", "LeNet5", "Residual", "SmallResNet"]


def LeNet300100(*, generator: torch.Generator | None = None) -> nn.Sequential:
    """784-300-100-10, fully connected: 266 610 parameters.

    Parameters
    ----------
    generator : torch.Generator, optional
        Draws the first weights; by default one seeded with 0. torch's global generator is left as it was.

    Returns
    -------
    nn.Sequential
        (n, 1, 28, 28) or (n, 784) float32 -> (n, 10) logits
    """
    return _fresh(generator, lambda: OrderedDict(
        flatten=nn.Flatten(),
        fc1=nn.Linear(784, 300),
        relu1=nn.ReLU(),
        fc2=nn.Linear(300, 100),
        relu2=nn.ReLU(),
        fc3=nn.Linear(100, 10),
    ))


def LeNet5(*, generator: torch.Generator | None = None) -> nn.Sequential:
    """Two 5x5 convolutions of 20 and 50 filters, then 800-500-10 (the Caffe form): 431 080 parameters.

    Parameters
    ----------
    generator : torch.Generator, optional
        Draws the first weights; by default one seeded with 0. torch's global generator is left as it was.

    Returns
    -------
    nn.Sequential
        (n, 1, 28, 28) float32 -> (n, 10) logits
    """
    return _fresh(generator, lambda: OrderedDict(
        conv1=nn.Conv2d(1, 20, 5),     # (n, 20, 24, 24)
        pool1=nn.MaxPool2d(2),         # (n, 20, 12, 12)
        conv2=nn.Conv2d(20, 50, 5),    # (n, 50, 8, 8)
        pool2=nn.MaxPool2d(2),         # (n, 50, 4, 4)
        flatten=nn.Flatten(),          # (n, 800)
        fc1=nn.Linear(800, 500),
        relu1=nn.ReLU(),
        fc2=nn.Linear(500, 10),
    ))


class Residual(nn.Module):
    """A residual block: relu(body(x) + shortcut(x)).   He et al. 2016, fig. 2 and sec. 3.3

    Parameters
    ----------
    body : nn.Module
    shortcut : nn.Module, optional
        Where the body changes the shape, a layer that changes it alike (a 1x1 convolution); by default x itself.
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None):
        super().__init__()
        self.body, self.shortcut = body, nn.Identity() if shortcut is None else shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def SmallResNet(*, generator: torch.Generator | None = None) -> nn.Sequential:
    """A residual network of 8, 16 and 32 channels with batch normalization: 37 896 weights.

    The form is that of He et al. 2016, sec. 4.2 (three stages, each of half the height and width and twice the channels
    of the one before, an average over each channel, one linear layer), with 1, 1 and 2 blocks.

    Parameters
    ----------
    generator : torch.Generator, optional
        Draws the first weights; by default one seeded with 0. torch's global generator is left as it was.

    Returns
    -------
    nn.Sequential
        (n, 1, 28, 28) float32 -> (n, 10) logits; images of any size from 1x1 fit
    """
    return _fresh(generator, lambda: OrderedDict(
        stem=_conv_bn(1, 8, 3),
        relu=nn.ReLU(),
        block1=_block(8, 8),               # (n, 8, 28, 28)
        block2=_block(8, 16, stride=2),    # (n, 16, 14, 14)
        block3=_block(16, 32, stride=2),   # (n, 32, 7, 7)
        block4=_block(32, 32),
        pool=nn.AdaptiveAvgPool2d(1),      # (n, 32, 1, 1)
        flatten=nn.Flatten(),
        fc=nn.Linear(32, 10),
    ))


def _block(channels: int, filters: int, *, stride: int = 1) -> Residual:
    """Two 3x3 convolutions; a 1x1 convolution in the shortcut where the shape changes."""
    first, second = _conv_bn(channels, filters, 3, stride), _conv_bn(filters, filters, 3)
    body = nn.Sequential(OrderedDict(conv1=first.conv, bn1=first.bn, relu=nn.ReLU(), conv2=second.conv, bn2=second.bn))
    return Residual(body, None if stride == 1 and channels == filters else _conv_bn(channels, filters, 1, stride))


def _conv_bn(channels: int, filters: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """A convolution that keeps the size (at stride 1), without a bias: that of the batch normalization is enough."""
    return nn.Sequential(OrderedDict(
        conv=nn.Conv2d(channels, filters, kernel, stride, padding=kernel // 2, bias=False),
        bn=nn.BatchNorm2d(filters),
    ))


def _fresh(generator, layers):
    """Build on the "meta" device, where nothing is drawn, then draw every weight from ``generator``.

    Batch normalization starts as the identity: mean 0, variance 1, factor 1, offset 0.
    """
    generator = torch.Generator("cpu").manual_seed(0) if generator is None else generator
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator is {generator!r}; it should be a torch.Generator, which a seed makes: "
                        "torch.Generator().manual_seed(seed)")
    with torch.inference_mode(False):  # its weights can be trained wherever it was built
        with torch.device("meta"):
            model = nn.Sequential(layers()).float()  # whatever the default dtype is
        model.to_empty(device="cpu")
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.reset_parameters()
            elif hasattr(layer, "weight"):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
    return model
