"""Train a small network in fixed point: every number that is kept has IL + FL bits.

Weights, biases, activations, the errors that travel back and the updates are all rounded to one ⟨IL, FL⟩. A sum of
products is not: as in hardware it runs in a wide accumulator, and only its result is rounded. Here float64 is that
accumulator, and holds such sums exactly up to words of 20 bits or so. The softmax, which sees ten numbers, runs in
float64.

NumPy only: the point is to see every place where a number is rounded, and automatic differentiation would hide half.

Source: Gupta, Agrawal, Gopalakrishnan, Narayanan 2015, "Deep learning with limited numerical precision", sec. 3.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from tqdm.auto import tqdm

from course_lib.arguments import not_negative, whole_number
from course_lib.data import Dataset
from course_lib.measure import Accuracy, accuracy
from course_lib.nets.inputs import refuse_integers
from course_lib.nets.threads import one_thread
from course_lib.numerics import FixedPoint, Rounding, to_fixed

__all__ = ["FixedPointLog", "FixedPointNet", "fixed_point_step", "train_fixed_point"]


class FixedPointLog(NamedTuple):
    """One number an epoch: mean loss on the training batches;
    share of the non-zero updates that were rounded to zero."""

    loss: list
    lost: list


class FixedPointNet:
    """Linear layers with a ReLU between them; each output is rounded by ``keep``.

    Parameters
    ----------
    weights, biases : lists of ndarray, (in, out) and (out,) float64
    keep : callable, float64 ndarray -> ndarray, what storing a number does to it
    """

    def __init__(self, weights: list[np.ndarray], biases: list[np.ndarray], keep: Callable[[np.ndarray], np.ndarray]):
        self.weights, self.biases, self.keep = weights, biases, keep

    def activations(self, x: ArrayLike) -> list[np.ndarray]:
        """The input, each hidden layer's output, the logits: a list of (n, width) arrays."""
        refuse_integers(np.asarray(x))                                  # bytes would saturate, and say nothing
        x = np.asarray(x, np.float64).reshape(len(x), -1)
        if x.shape[1] != len(self.weights[0]):
            raise ValueError(f"x has {x.shape[1]} numbers an image, and the network takes {len(self.weights[0])}")
        outputs = [self.keep(x)]
        for layer, (w, b) in enumerate(zip(self.weights, self.biases), start=1):
            z = outputs[-1] @ w + b                                     # the wide accumulator
            outputs.append(self.keep(z if layer == len(self.weights) else np.maximum(z, 0)))
        return outputs

    def __call__(self, x: ArrayLike) -> np.ndarray:
        """Logits (n, classes) of images (n, ...)."""
        return self.activations(x)[-1]

    def evaluate(self, x: ArrayLike, y: ArrayLike) -> Accuracy:
        """The share of the images ``x`` put in class ``y``, with its standard error (``measure.Accuracy``)."""
        return accuracy(self(x).argmax(axis=1), np.asarray(y))


@one_thread()
def train_fixed_point(
    dataset: Dataset, fixed: FixedPoint, *, rounding: Rounding | str = Rounding.NEAREST,
    update_rounding: Rounding | str | None = None, hidden: tuple[int, ...] = (100,), epochs: int = 1,
    batch_size: int = 100, lr: float = 0.1, seed: int = 0, progress: bool = True,
) -> tuple[FixedPointNet, FixedPointLog]:  # fmt: skip
    """Train a fully connected network by plain gradient descent on batches, all in one fixed-point format.

    The same arguments give the same network on the same kind of processor: sums run on one thread. Images left over
    after the last whole batch of an epoch are skipped.

    Parameters
    ----------
    dataset : course_lib.data.Dataset
    fixed : FixedPoint, or None for float64 all the way, to compare with
    rounding : Rounding
    update_rounding : Rounding of the updates alone, if it is another one
    hidden : tuple of int, widths of the hidden layers
    epochs, batch_size : int
    lr : float
        Multiplies the mean gradient of a batch, before the one rounding of the update.
    seed : int
        Of the first weights, the order of the images, and the stochastic rounding.
    progress : bool, show a bar

    Returns
    -------
    net : FixedPointNet
    log : FixedPointLog

    Raises
    ------
    ValueError
        ``batch_size`` is not between 1 and the number of training images; ``epochs``, ``lr`` or ``seed`` is negative; a
        width is below 1.
    """
    labels = dataset.train_y()
    epochs, seed = whole_number(epochs, "epochs", 0), whole_number(seed, "seed", 0)
    batch_size = whole_number(batch_size, "batch_size", 1, len(labels))
    lr = not_negative(lr, "lr")
    if not isinstance(hidden, (tuple, list)):
        raise ValueError(f"hidden is {hidden!r}; it should be a tuple of widths, each 1 or more")
    hidden = tuple(whole_number(width, "a width of hidden", 1) for width in hidden)
    rng, coin = (np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(2))

    def keep_by(mode):
        return lambda x: x if fixed is None else to_fixed(x, fixed, rounding=mode, rng=coin)

    keep, keep_update = keep_by(rounding), keep_by(rounding if update_rounding is None else update_rounding)

    images = dataset.train_images.reshape(len(labels), -1)
    widths = [images.shape[1], *hidden, int(labels.max()) + 1]
    weights = [keep(rng.normal(0, np.sqrt(2 / n), (n, m))) for n, m in zip(widths, widths[1:])]
    net = FixedPointNet(weights, [np.zeros(m) for m in widths[1:]], keep)
    log = FixedPointLog([], [])
    steps = len(labels) // batch_size
    with tqdm(total=epochs * steps, desc="training", unit="batch", disable=not progress, leave=False) as bar:
        for _ in range(epochs):
            total = np.zeros(3)
            order = rng.permutation(len(labels))[: steps * batch_size].reshape(steps, batch_size)
            for chosen in order:
                seen = fixed_point_step(net, images[chosen] / 255, labels[chosen], lr / batch_size, keep_update)
                total += seen
                bar.update()
            loss, lost, wanted = total.tolist()
            log.loss.append(loss / steps)
            log.lost.append(lost / max(1, wanted))
    return net, log


def fixed_point_step(
    net: FixedPointNet, x: np.ndarray, y: np.ndarray, rate: float,
    keep_update: Callable[[np.ndarray], np.ndarray],
) -> tuple[float, int, int]:
    """One step of gradient descent on a batch, in place.

    ``rate`` is the learning rate over the batch size. Returns the mean loss, how many updates rounding made zero, and
    how many were not zero before.
    """
    keep, outputs = net.keep, net.activations(x)                        # rounded: every layer's output
    odds = np.exp(outputs[-1] - outputs[-1].max(axis=1, keepdims=True))
    p = odds / odds.sum(axis=1, keepdims=True)                          # (batch, classes)
    loss = -np.log(np.maximum(p[np.arange(len(y)), y], 1e-30)).mean()
    p[np.arange(len(y)), y] -= 1
    error, lost, wanted = keep(p), 0, 0                                 # rounded: dloss/dlogits of each image
    for w, b, a in reversed(list(zip(net.weights, net.biases, outputs))):
        back = None if a is outputs[0] else error @ w.T                 # with the weights of the forward pass
        for values, slope in ((w, a.T @ error), (b, error.sum(axis=0))):
            move = keep_update(rate * slope)                            # rounded: the update
            values[...] = keep(values - move)                           # on the grid already: this only saturates
            wanted += np.count_nonzero(slope)
            lost += np.count_nonzero(slope[move == 0])
        if back is not None:
            error = keep(back * (a > 0))                                # rounded: the error one layer down
    return loss, lost, wanted
