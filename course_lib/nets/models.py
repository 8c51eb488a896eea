"""The two networks the course compresses: LeNet-300-100 and LeNet-5.

Both are plain ``nn.Sequential`` of Flatten, Linear, Conv2d, MaxPool2d and ReLU, on images (n, 1, 28, 28) in [0, 1],
and give ten logits. Sizes are those of the pruning and quantization papers' tables.

References: LeCun et al. 1998, "Gradient-based learning applied to document recognition"; the LeNet-5 here is the
wider form shipped with Caffe, which Han et al. 2015 ("Deep Compression") compress.
"""

from collections import OrderedDict

import torch
from torch import nn

__all__ = ["LeNet300100", "LeNet5"]


def LeNet300100(*, generator=None):
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


def LeNet5(*, generator=None):
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


def _fresh(generator, layers):
    """Build on the "meta" device, where nothing is drawn, then draw every weight from ``generator``."""
    generator = torch.Generator("cpu").manual_seed(0) if generator is None else generator
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator is {generator!r}; it should be a torch.Generator, which a seed makes: "
                        "torch.Generator().manual_seed(seed)")
    with torch.inference_mode(False):  # its weights can be trained wherever it was built
        with torch.device("meta"):
            model = nn.Sequential(layers()).float()  # whatever the default dtype is
        model.to_empty(device="cpu")
        for layer in model:
            if hasattr(layer, "weight"):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
                nn.init.zeros_(layer.bias)
    return model
