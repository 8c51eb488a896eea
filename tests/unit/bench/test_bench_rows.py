"""The rows of the benchmark: every operation is there, and at its real size ours gives what the peers give."""

import gc

import pytest

import course_lib as cl
from course_lib.bench import limits
from course_lib.bench.report import PLAIN

ROWS = cl.bench.rows()
NAMES = [row.name for row in ROWS]
OPERATIONS = [
    "fake-quantize", "stochastic quantize", "convert to e4m3", "convert to e5m2", "convert to bf16",
    "convert to e4m3, stochastic", "convert to e5m2, stochastic", "convert to bf16, stochastic",
    "int8 product, batch 1", "int8 product, batch 64", "int4 product, groups of 128, batch 1",
    "XNOR product, batch 1", "XNOR product, batch 64", "bit-serial product, 2×2 bits, batch 64",
    "CSR product, 9 %", "CSR product, 2 %", "Deep Compression product, 9 %", "2:4 product",
    "k-means, k = 32", "k-means, ten iterations", "integer linear layer, batch 64", "integer convolution, batch 16",
    "Huffman encode", "Huffman decode", "8-bit Adam step", "Monarch product",
    *(f"{verb} {bits}" for bits in ("1 bit", "2 bits", "4 bits") for verb in ("pack", "unpack")),
]  # fmt: skip

# Whole networks; what has its loop in another row; and Huffman's encoder, which is a table look-up a symbol.
WITHOUT_A_LOOP = ["lenet_300_100 int8, batch 1", "lenet_300_100 int8, batch 64", "k-means, k = 32", "Huffman encode",
                  *(f"convert to {name}, stochastic" for name in ("e4m3", "e5m2", "bf16"))]


def test_names_are_unique():
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_has_a_row(operation):
    assert operation in NAMES


@pytest.mark.filterwarnings("ignore")  # what the peers find out of date in each other
@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_ours_and_the_peers_agree(row):
    case = row.prepare()
    assert case.bytes > 0 and case.operations >= 0 and case.arithmetic in (*limits.PEAKS, "")
    assert all(callable(peer) or isinstance(peer, str) for peer in case.peers.values())
    assert set(case.scaled) <= set(case.peers)
    assert (PLAIN in case.peers) != (row.name in WITHOUT_A_LOOP), "the loop of kernels.plain belongs beside the kernel"
    for goal in row.goals:
        known = goal.peer in ("best", "limit", *case.peers) or goal.peer.removeprefix("ours: ") in NAMES
        assert known, f"{goal.peer!r} is neither a peer nor a row: {list(case.peers)}"
        assert goal.at_least > 0
    apart = row.name.startswith("lenet") or not case.peers  # logits may differ by near ties
    assert case.same is not None or apart, "say in same() what agrees"
    if case.same:
        case.same()
    del case
    gc.collect()


@pytest.mark.parametrize("row", [row for row in ROWS if row.growth], ids=lambda row: row.name)
def test_growth_can_be_prepared(row):
    smallest = min(row.growth.values, key=row.growth.work)
    row.growth.prepare(smallest)()
    assert len(row.growth.values) >= 3 and row.growth.slope > 0
    assert row.growth.bytes is None or row.growth.bytes(smallest) > 0
