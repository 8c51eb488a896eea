"""MNIST trained in fixed point, to the nearest against stochastic, over word lengths: for lecture 04.

    python experiments/fixed_point_training.py       writes fixed_point_training.csv beside this file, in about ten
                                                     minutes; stopped, it goes on where it was

Two sweeps of a 784-100-10 network. "length" keeps IL = 8 bits before the point and shortens the fraction; a third arm
rounds everything to the nearest but the updates, which it rounds stochastically. "split" keeps 16 bits and moves the
point.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import course_lib as cl

EPOCHS = 3
SEEDS = range(5)
ARMS = {"nearest": ("nearest", "nearest"), "stochastic": ("stochastic", "stochastic"),
        "updates": ("nearest", "stochastic")}  # fmt: skip


def settings():
    """Every run; no bits at all is float64."""
    for seed in SEEDS:
        runs = [("float64", None, None, "nearest")]
        for fraction_bits in (2, 4, 6, 8, 10, 12, 14):
            for arm in ARMS if fraction_bits in (4, 6, 8, 10) else ("nearest", "stochastic"):
                runs.append(("length", 8, fraction_bits, arm))
        for integer_bits in (2, 4, 6):
            for arm in ("nearest", "stochastic"):
                runs.append(("split", integer_bits, 16 - integer_bits, arm))
        for sweep, integer_bits, fraction_bits, arm in runs:
            yield {"sweep": sweep, "integer_bits": integer_bits, "fraction_bits": fraction_bits, "arm": arm,
                   "seed": seed, "epochs": EPOCHS}  # fmt: skip


@cache
def mnist():
    return cl.data.load("mnist")


def compute(sweep, integer_bits, fraction_bits, arm, seed, epochs):
    dataset = mnist()
    fixed = None if integer_bits is None else cl.numerics.FixedPoint(integer_bits, fraction_bits)
    rounding, update_rounding = ARMS[arm]
    net, log = cl.mixed.train_fixed_point(dataset, fixed, rounding=rounding, update_rounding=update_rounding,
                                         epochs=epochs, seed=seed, progress=False)
    accuracy = net.evaluate(dataset.test_x(), dataset.test_y()).value
    return {"accuracy": f"{accuracy:.4f}", "loss": f"{log.loss[-1]:.4f}", "lost": f"{log.lost[-1]:.6f}"}


if __name__ == "__main__":
    with ProcessPoolExecutor() as pool:
        cl.sweep.run(Path(__file__).with_suffix(".csv"), settings(), compute, executor=pool)
