"""The rows of the benchmark: every operation is there, and at its real size ours gives what the peers give."""

import gc

import pytest

import course_lib as cl
from course_lib.bench import limits

ROWS = cl.bench.rows()
NAMES = [row.name for row in ROWS]
OPERATIONS = [
    "fake-quantize", "stochastic quantize", "e4m3", "e5m2", "bf16", "stochastic to", "int8 product, batch 1",
    "int8 product, batch 64", "int4", "XNOR product, batch 1", "XNOR product, batch 64", "bit-serial", "CSR product, 9 %",
    "CSR product, 2 %", "Deep Compression", "2:4 product", "k-means", "Huffman encode", "Huffman decode", "pack 1 bit",
    "pack 2 bits", "pack 4 bits", "unpack 1 bit", "unpack 2 bits", "unpack 4 bits", "8-bit Adam", "Monarch product",
]  # fmt: skip


def test_names_are_unique():
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_has_a_row(operation):
    assert any(name.startswith(operation) or f" {operation}" in name for name in NAMES), NAMES


def test_every_family_is_there():
    for family in cl.bench.FAMILIES:
        assert __import__(f"course_lib.bench.{family}", fromlist=["rows"]).rows(), family


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_ours_and_the_peers_agree(row):
    case = row.prepare()
    assert case.bytes > 0 and case.operations >= 0 and case.arithmetic in (*limits.PEAKS, "")
    assert case.peers and all(callable(peer) or isinstance(peer, str) for peer in case.peers.values())
    assert set(case.scaled) <= set(case.peers)
    for goal in row.goals:
        known = goal.peer in ("best", "limit", *case.peers) or goal.peer.removeprefix("ours: ") in NAMES
        assert known, f"{goal.peer!r} is neither a peer nor a row: {list(case.peers)}"
        assert goal.at_least > 0
    assert case.same is not None or row.name.startswith("lenet"), "say in same() what agrees"
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
