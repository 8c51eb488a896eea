"""Recomputes lecture 04's rows of the ledger."""

import math

from course_lib.numerics import FORMATS, round_one

COIN = [(i + 0.5) / 1000 for i in range(1000)]          # every thousandth of [0, 1), each as likely as the next


def share_of(x, answer):
    return sum(round_one(x, "stochastic", u) == answer for u in COIN) / len(COIN)


RECOMPUTE = {
    "04-nearest-1.5": lambda: round_one(1.5, "nearest"),
    "04-nearest-2.4": lambda: round_one(2.4, "nearest"),
    "04-down-2.8": lambda: round_one(2.8, "down"),
    "04-up-2.1": lambda: round_one(2.1, "up"),
    "04-stochastic-1.7-to-1": lambda: share_of(1.7, 1),
    "04-stochastic-1.7-to-2": lambda: share_of(1.7, 2),
    "04-stochastic-mean": lambda: sum(round_one(1.7, "stochastic", u) for u in COIN) / len(COIN),
    "04-binary8-u": lambda: f"2^{math.log2(FORMATS['e5m2'].unit_roundoff):.0f}",
}
