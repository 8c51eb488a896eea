"""What one image costs a network, layer by layer, for the estimates of ``energy``."""

from typing import Any

from course_lib import energy
from course_lib.quantized.layers import KINDS
from course_lib.quantized.layers.base import short
from course_lib.quantized.model import QuantizedModel
from course_lib.quantized.steps import IDENTITY, run_steps


def cost(model: Any, image_shape: tuple[int, ...]) -> tuple[energy.Layer, ...]:
    """Multiply-adds, weights and numbers moved of each layer of a network, for one image.

    ``energy.estimate(cost(model, (1, 28, 28)), bits=8)`` puts picojoules to them. ReLU, pooling and flatten are not
    among them: they are done while numbers pass from one layer to the next. Batch normalization is folded first.

    Parameters
    ----------
    model : QuantizedModel, or an nn.Sequential as ``record_activations`` takes it
    image_shape : tuple of int, each 1 or more
        Of one image as the model takes it, without the axis of the batch: (channels, height, width) or (features,).

    Returns
    -------
    tuple of energy.Layer, in the order in which they run

    Raises
    ------
    TypeError
        A layer of the model that is not known; the message names it.
    ValueError
        ``image_shape`` is no shape, or one that a layer cannot take.
    """
    if not isinstance(image_shape, (tuple, list)) or not image_shape or not all(
            type(n) is int and n > 0 for n in image_shape):
        raise ValueError(f"image_shape={short(image_shape)} must be whole numbers from 1, the shape of one image: "
                         "(1, 28, 28) for instance")
    if isinstance(model, QuantizedModel):
        steps = model.layers
    else:
        from course_lib.quantized.following import follow

        steps = follow(model)
    found = []

    def shape_after(step, *shapes):
        if step.kind == IDENTITY:
            return shapes[0]
        kind, weight_shape = KINDS[step.kind], step.weight_shape
        window = kind.window(step.name, step.options, weight_shape)
        if misfit := kind.misfit(weight_shape, window, *(("n", *shape) for shape in shapes)):
            takes, hint = misfit
            raise ValueError(f"layer {step.name!r} {takes}, and an image of shape {tuple(image_shape)} reaches it as "
                             f"{' and '.join(map(str, shapes))}{hint}")
        after = kind.output_shape(weight_shape, window, *shapes)
        layer = kind.cost(step.name, weight_shape, shapes, after)
        found.extend([] if layer is None else [layer])
        return after

    run_steps(steps, tuple(image_shape), shape_after)
    return tuple(found)
