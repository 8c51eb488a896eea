"""The benchmark's runner: what it prints and what it writes. No time is asserted."""

import importlib.util
import json
from pathlib import Path

import course
import numpy as np
import pytest

import course_lib as cl

spec = importlib.util.spec_from_file_location("bench", Path(course.__file__).parent / "benchmarks" / "bench.py")
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)

ROW_KEYS = "name shape ours_ms ours_spread peers best_peer speedup bytes limit_ms of_limit goal met".split()


def row(name, goal=None):
    """A row whose peer does sixteen times the work."""
    short, long = np.ones(1 << 12), np.ones(1 << 16)
    case = cl.measure.Case(short.sum, {"long": long.sum}, bytes=short.nbytes, memory_bound=True)
    return cl.measure.Row(name, "4096", lambda: case, goal)


@pytest.fixture
def two_rows(monkeypatch):
    monkeypatch.setattr(bench, "all_rows", lambda: [row("sum, easy", goal=1e-6), row("sum, hopeless", goal=1e6)])


def test_the_file_has_what_the_course_reads(two_rows, tmp_path, capsys):
    out = tmp_path / "results.json"
    assert bench.main(["--seconds", "0.05", "--out", str(out)]) == 1  # one goal is missed, and the shell hears of it
    found = json.loads(out.read_text(encoding="utf-8"))
    assert set(found) == {"date", "versions", "machine", "threads", "load", "rows"}
    assert set(found["versions"]) == {"python", "course_lib", "numpy", "numba", "torch"}
    assert set(found["load"]) == {"before", "after"} and found["threads"] == 1
    assert [list(one) for one in found["rows"]] == [ROW_KEYS, ROW_KEYS]
    assert [one["met"] for one in found["rows"]] == [True, False]
    for one in found["rows"]:
        assert one["ours_ms"] > 0 and one["peers"]["long"] > 0 and one["limit_ms"] > 0
        assert one["speedup"] == pytest.approx(one["peers"][one["best_peer"]] / one["ours_ms"])
    printed = capsys.readouterr().out
    assert "goal 1e-06: met" in printed and "goal 1e+06: missed" in printed and "reached" in printed
    assert "results.json" in printed and str(tmp_path) not in printed


def test_rows_are_chosen_by_a_part_of_their_name(two_rows, tmp_path):
    out = tmp_path / "results.json"
    assert bench.main(["easy", "--seconds", "0.05", "--out", str(out)]) == 0
    assert [one["name"] for one in json.loads(out.read_text(encoding="utf-8"))["rows"]] == ["sum, easy"]


def test_a_name_that_no_row_has(two_rows):
    with pytest.raises(SystemExit, match="No row contains 'matmul'. The rows: sum, easy; sum, hopeless."):
        bench.main(["matmul"])


def test_the_rows_of_the_course():
    names = [one.name for one in bench.all_rows()]
    assert len(set(names)) == len(names)
    assert {"lenet_300_100 int8, batch 1", "lenet_300_100 int8, batch 64"} <= set(names)


@pytest.mark.parametrize("batch", [1, 64])
def test_the_inference_row_times_the_same_network_three_times(batch):
    digits = cl.data.load("digits")
    case = cl.nets.inference_row(batch=batch, dataset=digits, progress=False).prepare()
    ours = case.ours()
    assert set(case.peers) == {"torch float32", "torch simulated int8"}
    for name, peer in case.peers.items():
        logits = peer()
        assert not logits.requires_grad and logits.shape == ours.shape == (batch, 10), name
        same = (logits.numpy().argmax(1) == ours.argmax(1)).mean()
        assert same >= 0.95, name  # of 64: at most three near ties fall the other way
    assert case.bytes == 266_200 + batch * 784 * 4  # 266 610 parameters less 410 biases
