"""Recomputes lecture 02's rows of the ledger."""

from course_lib.embeddings import poincare_distance

# Source 004's photograph: bytes (1 KB = 1000), and the two sides in pixels
SERIES = {
    "1.4mb": (1.4e6, 756, 1008), "400kb": (400e3, 378, 504), "100kb": (100e3, 189, 252), "38kb": (38e3, 95, 126),
    "16kb": (16e3, 48, 63),
}  # fmt: skip


def file_over_raw(name):
    size, short, long = SERIES[name]
    return size / (3 * short * long)


RECOMPUTE = {
    **{f"02-series-{name}": (lambda name=name: file_over_raw(name)) for name in SERIES},
    "02-series-halves": lambda: tuple(1008 / 2**i for i in range(5)),
    "02-poincare-distance": lambda: poincare_distance((0.0, 0.0), (0.5, 0.0)),
}
