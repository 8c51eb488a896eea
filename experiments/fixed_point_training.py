"""MNIST trained in fixed point, to the nearest against stochastic, over word lengths: for lecture 04.

    python experiments/fixed_point_training.py       writes fixed_point_training.csv beside this file, in about ten minutes

Two sweeps of a 784-100-10 network. "length" keeps IL = 8 bits before the point and shortens the fraction; a third arm rounds
everything to the nearest but the updates, which it rounds stochastically. "split" keeps 16 bits and moves the point.
"""

import csv
from pathlib import Path

import course_lib as cl

OUT = Path(__file__).with_suffix(".csv")
EPOCHS = 3
SEEDS = range(5)
ARMS = {"nearest": ("nearest", "nearest"), "stochastic": ("stochastic", "stochastic"), "updates": ("nearest", "stochastic")}


def runs():
    """(sweep, integer bits, fraction bits, arm, seed); no bits at all is float64."""
    for seed in SEEDS:
        yield "float64", None, None, "nearest", seed
        for fraction_bits in (2, 4, 6, 8, 10, 12, 14):
            for arm in ARMS if fraction_bits in (4, 6, 8, 10) else ("nearest", "stochastic"):
                yield "length", 8, fraction_bits, arm, seed
        for integer_bits in (2, 4, 6):
            for arm in ("nearest", "stochastic"):
                yield "split", integer_bits, 16 - integer_bits, arm, seed


def main():
    dataset = cl.data.load("mnist")
    x, y = dataset.test_x(), dataset.test_y()
    with OUT.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["sweep", "integer_bits", "fraction_bits", "arm", "seed", "epochs", "accuracy", "loss", "lost"])
        for sweep, integer_bits, fraction_bits, arm, seed in runs():
            fixed = None if integer_bits is None else cl.numerics.FixedPoint(integer_bits, fraction_bits)
            rounding, update_rounding = ARMS[arm]
            net, log = cl.nets.train_fixed_point(dataset, fixed, rounding=rounding, update_rounding=update_rounding,
                                                 epochs=EPOCHS, seed=seed, progress=False)
            table.writerow([sweep, integer_bits, fraction_bits, arm, seed, EPOCHS, f"{net.evaluate(x, y).value:.4f}",
                            f"{log.loss[-1]:.4f}", f"{log.lost[-1]:.6f}"])
            file.flush()
        print(f"wrote {OUT.name}")


if __name__ == "__main__":
    main()
