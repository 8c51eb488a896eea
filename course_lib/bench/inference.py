"""Benchmark rows of whole networks: the integer engine against the same net in float32 and simulated."""

import torch

from course_lib import data
from course_lib.arguments import whole_number
from course_lib.measure import Case, Goal, Row
from course_lib.nets.store import trained
from course_lib.ptq.post_training import quantize_model

__all__ = ["inference_row"]

CALIBRATION_IMAGES = 512


def inference_row(name: str = "lenet_300_100", *, batch: int = 1, goal: float | None = None,
                  dataset: data.Dataset | None = None, progress: bool = True) -> Row:
    """The row that times int8 inference, from pixels to logits, for ``cl.bench.run``.

    Three callables get the same float32 images: the integer engine, the float32 net in torch, and its simulated
    (fake-quantized) twin in torch.

    Parameters
    ----------
    name : a net of ``cl.nets.trained``
    batch : int, images per call
    goal : float, optional
        How many times faster than the fastest peer the engine is meant to be.
    dataset : Dataset, by default what ``cl.data.load()`` gives when the row runs

    Returns
    -------
    measure.Row
    """

    batch = whole_number(batch, "batch", 1, 2**31)

    def prepare():
        images = dataset or data.load()
        model = trained(name, images, progress=progress)
        quantized = quantize_model(model, images.train_x(CALIBRATION_IMAGES), weight_bits=8, activation_bits=8)
        engine, simulated = quantized.integer_only(), quantized.simulated()
        for net in (model, simulated):
            net.eval().requires_grad_(False)  # nothing is recorded for a gradient
        x = images.test_x(batch)
        x_torch = torch.from_numpy(x)
        weights = sum(layer.weight_codes.size for layer in quantized.layers if layer.weight_codes is not None)
        return Case(
            ours=lambda: engine(x),
            peers={"torch float32": lambda: model(x_torch), "torch simulated int8": lambda: simulated(x_torch)},
            bytes=weights + x.nbytes,  # one byte a weight, and the float32 images; the rest is small beside them
            operations=2 * weights * batch,
            arithmetic="int8",
        )

    goals = () if goal is None else (Goal("best", goal),)
    return Row(f"{name} int8, batch {batch}", f"{batch}×1×28×28", prepare, goals)
