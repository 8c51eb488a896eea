"""Accuracy and cost of eight ways to quantize LeNet-300-100 on MNIST, for lecture 06.

    python experiments/lecture06_ptq.py        writes lecture06_ptq.csv beside this file, in about half an hour on one
                                               core; stopped, it goes on where it was

Five networks (seeds 0 to 4), as many bits for weights as for activations: 2, 3, 4 and 8. Five calibrators, each for
weights and for activations (weights are one batch, so for them the moving average is min-max); reconstruction layer by
layer with learned rounding, without and with dropping (QDrop); quantization-aware training. All see the same 512
training images without their labels, but for the last, which trains on all 60 000 with labels.

``cpu_seconds`` is processor time on one thread, of choosing ranges and learning, without training the float32 network;
of the calibrators it includes recording the activations.
"""

import time
from functools import cache
from pathlib import Path

import torch

import course_lib as cl

CALIBRATORS = [method.value for method in cl.numerics.Calibration]
METHODS = [*CALIBRATORS, "reconstruction", "qdrop", "qat"]
STEPS = {"reconstruction": 1000, "qdrop": 1000}  # of Adam, a layer
DROP = {"reconstruction": 0.0, "qdrop": 0.5}


@cache
def dataset():
    return cl.data.load("mnist")


@cache
def network(seed):
    return cl.nets.trained("lenet_300_100", dataset(), seed=seed, progress=False)


def quantized(bits, seed, method, images):
    """The network of one row."""
    model, x = network(seed), dataset().train_x(images)
    both = {"weight_bits": bits, "activation_bits": bits}
    if method == "qat":
        return cl.qat.train_qat(model, dataset(), **both, seed=seed, calibration_images=images, progress=False)
    if method in STEPS:
        return cl.ptq.reconstruct(model, x, **both, drop=DROP[method], steps=STEPS[method], seed=seed, progress=False)
    return cl.ptq.quantize_model(model, x, **both, weight_calibration=method, activation_calibration=method)


def compute(bits, seed, method, images):
    network(seed)
    quantized(8, seed, "mse", 2)  # what runs for the first time would cost more
    start = time.process_time()
    model = quantized(bits, seed, method, images)
    seconds = time.process_time() - start
    accuracy = cl.nets.evaluate(model.simulated(), dataset().test_x(), dataset().test_y())
    return {"accuracy": f"{accuracy.value:.4f}", "cpu_seconds": f"{seconds:.3g}"}


if __name__ == "__main__":
    cl.warm_up(progress=False)  # so that no row counts the loading of kernels
    cl.set_threads(1)
    torch.set_num_threads(1)
    rows = cl.sweep.grid(bits=[2, 3, 4, 8], seed=range(5), method=METHODS, images=[512])
    cl.sweep.run(Path(__file__).with_suffix(".csv"), rows, compute)
