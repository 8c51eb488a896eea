"""Recomputes lecture 01's rows of the ledger."""

import math

import numpy as np

from course_lib import energy

# 003's table of training costs: power in W, hours, kWh·PUE. Strubell et al. 2019: PUE 1.58, 0.954 lb CO2e for a kWh.
TRAINED = {
    "t2t-base": (1415.78, 12, 27), "t2t-big": (1515.43, 84, 201), "elmo": (517.66, 336, 275),
    "bert-base": (12041.51, 79, 1507), "nas": (1515.43, 274_120, 656_347),
}  # fmt: skip
# Devices, hours, and the price of a device for an hour, low and high, in $.
P100, V100, TPU2, TPU3 = (0.43, 1.46), (0.74, 2.48), (1.35, 4.50), (2.40, 8.00)
RENTED = {
    "t2t-base": (8, 12, P100), "t2t-big": (8, 84, P100), "elmo": (3, 336, P100), "bert-base": (64, 79, V100),
    "bert-base-tpu": (16, 96, TPU2), "nas": (8, 274_120, P100), "nas-tpu": (1, 32_623, TPU2), "gpt-2": (32, 168, TPU3),
}  # fmt: skip
ADD, MULTIPLY = energy.ADD, energy.MULTIPLY


def co2(name):
    return 0.954 * TRAINED[name][2]


def kwh(name, hours=None):
    watts, printed, _ = TRAINED[name]
    return watts * (hours or printed) / 1000 * 1.58


def cost(name, hours=None):
    devices, printed, prices = RENTED[name]
    return tuple(devices * (hours or printed) * price for price in prices)


def ratio(table, field):
    return getattr(table["float32"], field) / getattr(table["int8"], field)


def less_energy_when_pruned():
    """Least and most over the fully connected layers of AlexNet and VGG-16, from the shares left that 001 lists."""
    layers = [(9216, 4096, 0.09), (4096, 1000, 0.25), (25088, 4096, 0.04), (4096, 1000, 0.23)]
    times = []
    for inputs, outputs, left in layers:
        layer = [energy.linear("fc", inputs, outputs)]
        pruned = energy.estimate(layer, sparsity=1 - left, index_bits=32)
        times.append(energy.estimate(layer).energy_pj / pruned.energy_pj)
    return min(times), max(times)


def nas_tonnes():
    return 626_155 * 0.45359237 / 1000


RECOMPUTE = {
    **{f"01-co2-{name}": lambda name=name: co2(name) for name in TRAINED},
    **{f"01-kwh-{name}": lambda name=name: kwh(name) for name in TRAINED},
    "01-kwh-bert-base-79.2-hours": lambda: kwh("bert-base", 79.2),
    **{f"01-cost-{name}": lambda name=name: cost(name) for name in RENTED},
    "01-cost-bert-base-79.2-hours": lambda: cost("bert-base", 79.2),
    "01-cost-nas-tpu-32633-hours": lambda: cost("nas-tpu", 32_633),
    "01-nas-tonnes": nas_tonnes,
    "01-nas-tonnes-revised": lambda: nas_tonnes() / 88,
    "01-petaflop-s-day": lambda: 1e15 * 24 * 3600,
    "01-moore-since-alexnet": lambda: 2 ** (math.log2(300_000) * 3.4 / 24),
    "01-alexnet-parameters": lambda: sum(layer.weights for layer in energy.NETWORKS["AlexNet"]) / 1e6,
    "01-int8-memory": lambda: np.zeros(64, np.float32).nbytes / np.zeros(64, np.int8).nbytes,
    "01-horowitz-add-energy": lambda: ratio(ADD, "energy_pj"),
    "01-horowitz-multiply-energy": lambda: ratio(MULTIPLY, "energy_pj"),
    "01-horowitz-add-area": lambda: ratio(ADD, "area_um2"),
    "01-horowitz-multiply-area": lambda: ratio(MULTIPLY, "area_um2"),
    "01-horowitz-memory-energy": lambda: 32 / 8,
    "01-horowitz-add-int32-sum": lambda: ADD["float32"].energy_pj / ADD["int32"].energy_pj,
    "01-horowitz-multiply-add": lambda: energy.multiply_add_pj(32) / energy.multiply_add_pj(8),
    "01-pruned-energy-batch-1-estimate": less_energy_when_pruned,
}
