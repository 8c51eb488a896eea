"""The benchmark: one row timed and judged, rows by name, the table and results.json. No time is asserted."""

import importlib.util
import json
from pathlib import Path

import course
import numpy as np
import pytest

import course_lib as cl
from course_lib.bench import limits, runner
from course_lib.measure import Case, Goal, Row

spec = importlib.util.spec_from_file_location("bench", Path(course.__file__).parent / "benchmarks" / "bench.py")
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)

# The first twelve are what the design promises to whoever reads the file.
ROW_KEYS = "name shape ours_ms ours_spread peers best_peer speedup bytes limit_ms of_limit goal met".split()


def row(name, *goals, why="", **more):
    """A row whose peer does sixteen times the work."""
    short, long = np.ones(1 << 12), np.ones(1 << 16)
    case = Case(short.sum, {"long": long.sum, "absent": "not installed: absent"}, bytes=short.nbytes, **more)
    return Row(name, "4096", lambda: case, goals, why)


@pytest.fixture
def two_rows(monkeypatch):
    rows = [row("sum, easy", Goal("best", 1e-6)), row("sum, hopeless", Goal("long", 1e6), why="it adds")]
    monkeypatch.setattr(cl.bench, "rows", lambda: rows)


def test_the_file_has_what_the_course_reads(two_rows, tmp_path, capsys):
    out = tmp_path / "results.json"
    bench.main(["--seconds", "0.05", "--out", str(out)])
    found = json.loads(out.read_text(encoding="utf-8"))
    assert {"date", "versions", "machine", "threads", "load", "rows"} <= set(found)
    assert set(found["load"]) == {"before", "after"} and found["threads"] == 2
    assert [list(one)[:12] for one in found["rows"]] == [ROW_KEYS, ROW_KEYS]
    assert [one["met"] for one in found["rows"]] == [True, False]
    for one in found["rows"]:
        assert one["ours_ms"] > 0 and one["peers"]["long"] > 0 and one["limit_ms"] > 0
        assert one["speedup"] == pytest.approx(one["peers"][one["best_peer"]] / one["ours_ms"])
        assert one["skipped"] == {"absent": "not installed: absent"}
    printed = capsys.readouterr().out
    assert "met" in printed and "missed" in printed
    assert "results.json" in printed and str(tmp_path) not in printed


def test_rows_are_found_by_name_or_by_part_of_it(monkeypatch):
    rows = [row("int8 product, batch 6"), row("int8 product, batch 64"), row("pack")]
    monkeypatch.setattr(cl.bench, "rows", lambda: rows)
    assert cl.bench.find("int8 product, batch 6") is rows[0]  # the whole name of one is a part of another's
    assert cl.bench.find("BATCH 64") is rows[1]
    with pytest.raises(LookupError, match="'product' is part of 2 names: int8 product, batch 6; int8 product, batch 64"):
        cl.bench.find("product")
    with pytest.raises(LookupError, match="no row is called 'huffman'; the rows are int8 .* pack"):
        cl.bench.find("huffman")


def test_one_row_by_name_as_a_lecture_runs_it(two_rows):
    got = cl.bench.run("hopeless", budget_s=0.05, threads=1)
    assert got.name == "sum, hopeless" and got.threads == 1 and got.met is False
    for shown in (str(got), got._repr_markdown_()):
        assert "goal 1e+06 × long: missed" in shown and "why: it adds" in shown
        assert "not installed: absent" in shown and "the limit: memory, 32.8 kB" in shown


def test_threads_come_back_to_what_they_were(two_rows):
    import torch

    from course_lib.kernels import pool

    before = pool.threads(), torch.get_num_threads()
    with runner.on_threads(3):
        assert (pool.threads(), torch.get_num_threads()) == (3, 3)
    assert (pool.threads(), torch.get_num_threads()) == before


def test_a_row_whose_answers_differ_is_not_timed():
    def differ():
        raise AssertionError("ours says 2, long says 3")

    with pytest.raises(AssertionError, match="ours says 2"):
        cl.bench.run(row("sum", same=differ), budget_s=0.05)


def test_a_goal_may_name_another_row_of_ours(monkeypatch):
    rows = [row("first"), row("second", Goal("ours: first", 1e-9), Goal("absent", 2.0))]
    monkeypatch.setattr(cl.bench, "rows", lambda: rows)
    got = cl.bench.run("second", budget_s=0.05)
    assert set(got.beside) == {"ours: first"} and got.goals[0].met is True
    assert got.goals[1].met is None and got.goals[1].reached is None and got.met is True
    assert "goal 2 × absent: not judged" in str(got)


def test_a_peer_on_part_of_the_data(monkeypatch):
    whole = cl.bench.run(row("sum", scaled={"long": 1000}), budget_s=0.05)
    assert whole.scaled == {"long": 1000} and "on 1/1000 of the data" in str(whole)
    assert whole.speedup > 100  # sixteen times the work, times a thousand


def test_the_copy_moves_as_many_bytes_as_the_row(monkeypatch):
    moved = []
    monkeypatch.setattr(limits.np, "copyto", lambda target, source: moved.append(target.nbytes + source.nbytes))
    for size in (2, 1000, 1 << 20):
        limits.copy_of(size)()
        assert sum(moved) == size
        moved.clear()


def test_the_cache_that_holds_the_data(monkeypatch):
    monkeypatch.setattr(limits, "caches", lambda: {"L1": 100, "L2": 1000})
    assert [limits.fits_in(size) for size in (1, 100, 101, 1000, 1001)] == ["L1", "L1", "L2", "L2", "memory"]
    monkeypatch.setattr(limits, "caches", dict)
    assert limits.fits_in(1) is None


def test_the_rows_of_the_course():
    names = [one.name for one in cl.bench.rows()]
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
