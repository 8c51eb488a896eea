"""The benchmark: one row timed and judged, rows by name, the table, one file a processor. No time is asserted."""

import importlib.util
import io
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import course
import course_lib as cl
from course_lib import roofline
from course_lib.bench import cold, dense, growth, limits, processor, runner
from course_lib.bench.processor import Processor
from course_lib.bench.report import GoalResult, RowResult
from course_lib.machine import threads
from course_lib.measure import Case, Goal, Growth, Row

spec = importlib.util.spec_from_file_location("bench", Path(course.__file__).parent / "benchmarks" / "bench.py")
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)

ROOFS = {
    "peaks": {name: {"rate": rate, "by": "loops"} for name, rate in (("float32", 4e11), ("int8", 2e12))},
    "bandwidth": {1 << 24: 3e10},
}
XEON = Processor("Intel(R) Xeon(R) Processor", ("amx-int8", "avx512vnni"))
EPYC = Processor("AMD EPYC 9R14 96-Core Processor", ("avx512vnni", "avx512f"))
# The first twelve are what the design promises to whoever reads the file.
ROW_KEYS = "name shape ours_ms ours_spread peers best_peer speedup bytes limit_ms of_limit goal met".split()


def row(name, *goals, why="", growth=None, **more):
    """A row whose peer does sixteen times the work."""
    short, long = np.ones(1 << 12), np.ones(1 << 16)
    more = {"operations": short.size, "arithmetic": ""} | more
    case = Case(short.sum, {"long": long.sum, "absent": "not installed: absent"}, bytes=short.nbytes, **more)
    return Row(name, "4096", lambda: case, goals, why, growth)


@pytest.fixture
def two_rows(monkeypatch):
    sizes = Growth("n", (4096, 1024, 16384), lambda n: np.ones(n).sum, 1.0, bytes=lambda n: 8 * n)
    rows = [row("sum, easy", Goal("long", 1e-6), growth=sizes), row("sum, hopeless", Goal("long", 1e6), why="it adds")]
    monkeypatch.setattr(cl.bench, "rows", lambda: rows)
    monkeypatch.setattr(bench, "roofs", lambda threads: ROOFS)
    monkeypatch.setattr(bench.cold, "measure_cold_start", lambda: cold.ColdStart(50.0, 4.0, 9, 12, False, True))
    return rows


@pytest.fixture
def committed(monkeypatch, tmp_path):
    """The results of this processor, in a folder that is not there yet."""
    for module in (bench, cl.bench):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(processor, "this", lambda: XEON)
    return tmp_path / "results" / "intel-xeon-amx.json"


def test_the_file_has_what_the_course_reads(two_rows, committed, capsys):
    assert bench.main(["--seconds", "0.05"]) == 0  # a goal that is missed is a result, not an error
    found = json.loads(committed.read_text(encoding="utf-8"))
    assert {"date", "versions", "machine", "threads", "load", "roofs", "rows", "growth", "cold_start",
            "ways"} <= set(found)  # fmt: skip
    assert set(found["load"]) == {"before", "after"} and found["threads"] == 2 and found["broken"] == {}
    assert [list(one)[:12] for one in found["rows"]] == [ROW_KEYS, ROW_KEYS]
    assert [one["met"] for one in found["rows"]] == [True, False]
    for one in found["rows"]:
        assert one["ours_ms"] > 0 and one["peers"]["long"] > 0 and one["limit_ms"] > 0
        assert one["speedup"] == pytest.approx(one["peers"][one["best_peer"]] / one["ours_ms"])
        assert one["skipped"] == {"absent": "not installed: absent"}
    assert [one["name"] for one in found["growth"]] == ["sum, easy"]
    assert found["growth"][0]["values"] == [1024, 4096, 16384]
    assert found["cold_start"]["cold_s"] == 50.0
    printed = capsys.readouterr().out
    assert "1e-06 × met" in printed and "goal 1e+06 × long: missed" in printed and "it adds" in printed
    assert "1 of 2 goals met, in 2 rows" in printed and "cold" not in printed
    assert "50.0 s (goal 45 s: missed)" in printed
    assert "intel-xeon-amx.json" in printed and str(committed.parent) not in printed
    pictures = [committed.with_name(f"intel-xeon-amx_{name}.png") for name in ("limits_reached", "roofline")]
    assert sorted(committed.parent.iterdir()) == sorted([committed, *pictures])  # nothing left aside
    for picture in pictures:
        with Image.open(picture) as image:
            assert image.width >= 800 and "Intel Xeon, AMX, 2 threads" in image.text["Description"]
    assert cl.bench.saved(committed) == cl.bench.saved() == found
    assert found["machine"]["model"] == XEON.model and found["machine"]["features"] == list(XEON.features)


@pytest.mark.parametrize("arguments", [["easy"], ["SUM"], ["--growth"], ["--cold"], ["--list"]])
def test_a_part_leaves_the_file_alone(two_rows, committed, arguments, capsys):
    committed.parent.mkdir()
    committed.write_text("{}")
    assert bench.main([*arguments, "--seconds", "0.05"]) == 0
    assert committed.read_text() == "{}"
    assert "Written" not in capsys.readouterr().out


def test_a_part_is_written_where_one_says(two_rows, committed, tmp_path):
    assert bench.main(["easy", "--seconds", "0.05", "--out", str(tmp_path / "some.json")]) == 0
    found = json.loads((tmp_path / "some.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in found["rows"]] == ["sum, easy"] and not committed.exists()


def test_a_file_that_cannot_be_finished_stays_as_it_was(committed, tmp_path):
    committed.parent.mkdir()
    committed.write_text("{}")
    with pytest.raises(TypeError):
        bench.write(committed, {"rows": object()})
    assert committed.read_text() == "{}" and list(committed.parent.iterdir()) == [committed]


@pytest.mark.parametrize("encoding", ["cp1252", "gbk", "ascii"])
def test_a_pipe_of_another_code_page_does_not_cost_the_results(two_rows, committed, monkeypatch, encoding):
    two_rows[0] = row("sum, ⌊r⌋ ✓", Goal("long", 1e-6))
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr("sys.stdout", out)
    assert bench.main(["--seconds", "0.05"]) == 0
    assert committed.exists() and f"Written to {committed.name}".encode() in out.buffer.getvalue()


def test_a_reader_that_has_gone_does_not_cost_the_results(two_rows, committed, monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("sys.stdout", Gone())
    assert bench.main(["--seconds", "0.05"]) == 0
    bench.sys.stdout.close()
    assert committed.exists()


def test_strict_says_so_when_a_goal_is_missed(two_rows, committed):
    assert bench.main(["--seconds", "0.05", "--strict"]) == 1
    assert bench.main(["easy", "--seconds", "0.05", "--strict"]) == 0


def test_a_broken_row_does_not_stop_the_others(two_rows, committed, capsys):
    def differ():
        raise AssertionError("ours says 2")

    two_rows.insert(0, row("sum, wrong", same=differ))
    assert bench.main(["--seconds", "0.05"]) == 1
    found = json.loads(committed.read_text(encoding="utf-8"))
    assert found["broken"] == {"sum, wrong": "AssertionError: ours says 2"} and len(found["rows"]) == 2
    assert "BROKEN sum, wrong: AssertionError: ours says 2" in capsys.readouterr().out


def test_results_that_were_never_made(committed, tmp_path):
    for path in (tmp_path / "other.json", None):
        with pytest.raises(FileNotFoundError, match="make bench"):
            cl.bench.saved(path)


def test_the_file_of_this_processor_is_read_or_another_one_named(committed, monkeypatch):
    """One file a kind of processor: its own where there is one, else the newest, and a sentence that says which."""
    committed.parent.mkdir()
    for one, date in ((XEON, "2026-01-01"), (EPYC, "2026-02-01"), (Processor("Apple M2", ("i8mm",)), "2025-01-01")):
        run = {"date": date, "threads": 2, "machine": one.as_json()}
        (committed.parent / f"{one.slug}.json").write_text(json.dumps(run), encoding="utf-8")
    assert cl.bench.saved()["machine"]["model"] == XEON.model           # although another is newer
    assert cl.bench.measured_on(cl.bench.saved()) == (
        "Measured on 2026-01-01 with 2 threads on: Intel Xeon, AMX. Your processor is of the same kind.")
    monkeypatch.setattr(processor, "this", lambda: Processor("Intel(R) Core(TM) i7-8650U CPU @ 1.90GHz", ("avx2",)))
    assert cl.bench.measured_on(cl.bench.saved()) == (
        "Measured on 2026-02-01 with 2 threads on: AMD EPYC 9R14, AVX-512 with VNNI. "
        "Yours is another kind, Intel Core i7-8650U, AVX2: `make bench` measures it.")


@pytest.mark.parametrize("model, features, name, slug", [
    ("Intel(R) Xeon(R) Processor", ["amx-int8", "avx2"], "Intel Xeon, AMX", "intel-xeon-amx"),
    ("Intel(R) Xeon(R) Platinum 8488C", ["amx-int8"], "Intel Xeon Platinum 8488C, AMX", "intel-xeon-amx"),
    ("AMD EPYC-Genoa Processor", ["avx512vnni"], "AMD EPYC-Genoa, AVX-512 with VNNI", "amd-epyc-avx512vnni"),
    ("11th Gen Intel(R) Core(TM) i7-1185G7 @ 3.00GHz", ["avx512f"], "Intel Core i7-1185G7, AVX-512",
     "intel-core-avx512"),
    ("Apple M2 Pro", ["i8mm"], "Apple M2 Pro, Neon with I8MM", "apple-m2-i8mm"),
    ("AMD Athlon(tm) II X2 250 Processor", [], "AMD Athlon II X2 250", "amd-athlon"),
    ("riscv64", [], "riscv64", "riscv64"),
    ("", [], "a processor without a name", "a-processor"),
])  # fmt: skip
def test_what_a_processor_is_called(model, features, name, slug):
    one = Processor(model, tuple(features))
    assert (one.name, one.slug) == (name, slug)


def test_this_processor_has_a_name():
    here = processor.this()
    assert here.model and here.slug and set(here.features) <= set(processor.FEATURES)


def test_every_committed_file_says_whose_it_is():
    """Each has its processor, the name that belongs to it, both pictures, and a limit wherever a peer is faster."""
    paths = sorted(cl.bench.RESULTS.glob("*.json"))
    assert paths
    for path in paths:
        found = cl.bench.saved(path)
        one = Processor(found["machine"]["model"], tuple(found["machine"]["features"]))
        assert one.name == found["machine"]["name"] and path.stem == one.slug
        for picture in ("roofline", "limits_reached"):
            assert path.with_name(f"{path.stem}_{picture}.png").is_file()
        assert all(row["limit_ms"] for row in found["rows"] if row["speedup"] and row["speedup"] < 1)


def result(ours, peer, limit, *goals, why=""):
    """A RowResult of 1 ms units, judged as a run judges."""
    judged = [GoalResult(name, least, got := {"peer": peer / ours, "limit": limit / ours}[name], got >= least)
              for name, least in goals]
    return RowResult("sum", "4096", ours, 0.0, {"peer": peer}, "peer", peer / ours, 8, limit, limit / ours, None,
                     all(goal.met for goal in judged), tuple(judged), why, "memory, 8 bytes")


@pytest.mark.parametrize("row, reasons", [
    (result(2, 10, 1, ("peer", 4)), []),
    (result(2, 10, 1, ("peer", 8), why="it adds"),
     ["8 × would be 80% of the limit, memory, 8 bytes; ours reaches 50%", "it adds"]),
    (result(2, 10, 1, ("peer", 20)), ["the limit, memory, 8 bytes, allows 10 × at most"]),
    (result(2, 1.25, 1, why="it adds"), ["peer reaches 80% of the limit, ours 50%", "it adds"]),
    (result(2, 10, 1, ("limit", 0.8), why="it adds"), ["it adds"]),
    (result(2, 10, 1, why="it adds"), []),
])  # fmt: skip
def test_reasons_are_those_of_the_run(row, reasons):
    """What the limit allows, computed from the numbers beside it; the row's own words only where they are needed."""
    assert row.reasons() == reasons and row.as_json()["reasons"] == reasons
    assert ("why: " in str(row)) == bool(reasons)
    for reason in reasons:
        assert reason in str(row) and reason in cl.bench.summary([row])


def test_the_names(two_rows, capsys):
    assert bench.main(["--list"]) == 0
    assert capsys.readouterr().out == "sum, easy  (4096)\nsum, hopeless  (4096)\n"
    with pytest.raises(SystemExit, match="No row is called 'matmul' or contains it. "
                                         "The rows: sum, easy; sum, hopeless."):  # fmt: skip
        bench.main(["matmul"])


def test_rows_are_found_by_name_or_by_part_of_it(monkeypatch):
    rows = [row("int8 product, batch 6"), row("int8 product, batch 64"), row("pack")]
    monkeypatch.setattr(cl.bench, "rows", lambda: rows)
    assert cl.bench.find("int8 product, batch 6") is rows[0]  # the whole name of one is a part of another's
    assert cl.bench.find("BATCH 64") is rows[1]
    with pytest.raises(LookupError, match="'product' is part of 2 names: int8 product, batch 6; "
                                          "int8 product, batch 64"):  # fmt: skip
        cl.bench.find("product")
    with pytest.raises(LookupError, match="no row is called 'huffman'; the rows are int8 .* pack"):
        cl.bench.find("huffman")


def test_one_row_by_name_as_a_lecture_runs_it(two_rows):
    got = cl.bench.run("hopeless", budget_s=0.05, threads=1)
    assert got.name == "sum, hopeless" and got.threads == 1 and got.met is False
    for shown in (str(got), got._repr_markdown_()):
        assert "goal 1e+06 × long: missed" in shown and "why: the limit, memory, 32.8 kB, allows" in shown
        assert "; it adds" in shown
        assert "not installed: absent" in shown and "limit: memory, 32.8 kB" in shown


def test_threads_come_back_to_what_they_were(two_rows):
    import torch


    before = threads.threads(), torch.get_num_threads()
    with runner.on_threads(3):
        assert (threads.threads(), torch.get_num_threads()) == (3, 3)
    assert (threads.threads(), torch.get_num_threads()) == before


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


def test_what_is_ours_as_well_is_no_peer():
    short, long = np.ones(1 << 12), np.ones(1 << 16)
    case = Case(short.sum, {"our long sum": long.sum, "mean": long.mean}, bytes=short.nbytes)
    got = cl.bench.run(Row("sum", "4096", lambda: case, (Goal("our long sum", 1e-9),)), budget_s=0.05)
    assert set(got.peers) == {"mean"} and set(got.beside) == {"our long sum"} and got.best_peer == "mean"
    assert got.goals[0].met is True


def test_a_peer_on_part_of_the_data(monkeypatch):
    whole = cl.bench.run(row("sum", scaled={"long": 1000}), budget_s=0.05)
    assert whole.scaled == {"long": 1000} and "long (1/1000 of it, times 1000)" in str(whole)
    assert whole.speedup > 100  # sixteen times the work, times a thousand


def test_a_slow_peer_is_called_by_itself_a_few_times():
    calls = []

    def slow():
        calls.append(len(calls))
        time.sleep(0.02)

    case = Case(np.ones(10).sum, {"slow": slow}, bytes=80)
    got = cl.bench.run(Row("sum", "10", lambda: case), threads=1, budget_s=0.1)
    assert len(calls) <= 1 + runner.FEW and got.peers["slow"] >= 20 and got.repeats > 9


def test_a_fast_peer_may_run_on_one_thread():
    import torch

    seen = set()
    case = Case(np.ones(10).sum, {"torch": lambda: seen.add(torch.get_num_threads())}, bytes=80)
    before = torch.get_num_threads()
    cl.bench.run(Row("sum", "10", lambda: case), threads=2, budget_s=0.05)
    assert seen == {1, 2} and torch.get_num_threads() == before


@pytest.mark.parametrize("seconds", [0, 0.02], ids=["in the loop", "by itself"])
@pytest.mark.parametrize("threads", [1, 2])
def test_peers_run_on_as_many_threads_as_ours(seconds, threads):
    import torch
    from threadpoolctl import ThreadpoolController

    blas = ThreadpoolController().select(user_api="blas")

    def now():
        torchs = re.findall(r"get_(?:num|max)_threads\(\) : (\d+)", torch.__config__.parallel_info())
        return cl.threads(), frozenset(map(int, torchs)), frozenset(one["num_threads"] for one in blas.info())

    prepared, ours, theirs = [], [], []

    def peer():
        theirs.append(now())
        time.sleep(seconds)

    def prepare():
        prepared.append(now())
        return Case(lambda: ours.append(now()), {"peer": peer}, bytes=80)

    cl.bench.run(Row("sum", "10", prepare), threads=threads, budget_s=0.1)
    every = frozenset({threads})
    right = threads, every, every if blas.info() else frozenset()
    assert set(prepared) == set(ours) == {right}
    alone = [seen for seen in theirs if seen != right]  # PyTorch's alone, for a fast one: the kind "peer alone"
    assert set(alone) == ({(2, frozenset({1}), right[2])} if threads == 2 and seconds == 0 else set())
    assert theirs[0] == right and len(alone) <= len(theirs) / 2


def test_onnx_runtime_gets_as_many_threads_as_ours(monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    made, session = [], onnxruntime.InferenceSession

    def spy(model, options, **more):
        made.append(options.intra_op_num_threads)
        return session(model, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    for count in (1, 2):
        with runner.on_threads(count):
            dense._onnx_runtime(np.ones((4, 8), np.int8), np.ones((3, 8), np.int8))
    assert made == [1, 1, 2, 2]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_copy_moves_as_many_bytes_as_the_row(monkeypatch, threads):
    moved = []
    monkeypatch.setattr(np, "copyto", lambda target, source: moved.append(target.nbytes + source.nbytes))
    for size in (2, 1000, 1 << 20):
        copies = roofline.copies(size, threads)
        assert len(copies) == threads  # a small copy may be faster on one
        for copy in copies.values():
            copy()
            assert sum(moved) == size
            moved.clear()


@pytest.mark.parametrize("arithmetic", limits.PEAKS)
def test_a_peak_is_a_rate_and_a_name(monkeypatch, arithmetic):
    monkeypatch.setattr(limits, "ROUNDS", 1000)
    monkeypatch.setattr(limits, "_products", lambda arithmetic: {})
    limits.peak.cache_clear()
    found = limits.peak(arithmetic, 1, budget_s=0.02)
    assert found.rate > 0 and found.by == "a loop in registers"
    assert limits.peak(arithmetic, 1, budget_s=0.02) is found
    limits.peak.cache_clear()


def test_a_peak_of_something_else():
    with pytest.raises(ValueError, match="arithmetic is 'int3'; it should be one of float32, int8, popcount"):
        limits.peak("int3", 1)


def test_the_cache_that_holds_the_data(monkeypatch):
    known = {"L1": limits.Cache(100, 1), "L2": limits.Cache(1000, 1), "L3": limits.Cache(5000, 8)}
    monkeypatch.setattr(limits, "caches", lambda: known)
    assert [limits.fits_in(size) for size in (1, 100, 101, 1000, 1001, 5001)] == [
        "L1", "L1", "L2", "L2", "L3", "memory"]  # fmt: skip
    assert [limits.fits_in(size, threads=2) for size in (200, 201, 2000, 2001, 5001)] == [
        "L1", "L2", "L2", "L3", "memory"]  # fmt: skip
    monkeypatch.setattr(limits, "caches", dict)
    assert limits.fits_in(1) is None


# Growth


@pytest.mark.parametrize("ms, first", [
    ([1, 2, 4, 8, 16, 32, 64], 3),           # from the first that takes eight times as long as the smallest
    ([1, 1, 1, 1.5, 2, 3, 4], 4),            # never that long: the three largest
    ([1, 9, 3, 9, 18, 36], 3),               # all that come after are past it, too
    ([1, 20, 400], 0),
])  # fmt: skip
def test_the_fit_begins_past_the_overhead(ms, first):
    assert growth.first_fitted(ms) == first


def test_the_slope_is_that_of_the_power():
    work = np.array([1e3, 1e4, 1e5, 1e6])
    assert growth.fitted_slope(work, 3e-6 * work**1.5) == pytest.approx(1.5)


def test_a_word_on_each_cache_that_is_left(monkeypatch):
    monkeypatch.setattr(limits, "caches", lambda: {"L1": limits.Cache(1000, 1), "L2": limits.Cache(10_000, 1)})
    steps = growth.cache_steps([16, 1024, 4096, 16384], [np.nan, 1e-6, 1.02e-6, 3e-6], [10, 800, 5000, 50_000], 1)
    assert steps == (
        "from L1 to L2 at 4096: 1 ns → 1.02 ns each, no step",
        "from L2 to memory at 2^14: 1.02 ns → 3 ns each, 2.9 × the time",
    )


def test_growth_of_a_row(two_rows):
    got = growth.measure_growth(two_rows[0], threads=1, budget_s=0.1)
    assert got.values == (1024, 4096, 16384) and got.work == (1024.0, 4096.0, 16384.0) and len(got.ms) == 3
    assert got.expected == 1.0 and got.word.split(":")[0] in ("as the work does", "faster", "slower")
    assert "time grows as n to the power" in str(got)
    assert "sum, easy" in growth.summary([got])
    with pytest.raises(ValueError, match="'sum, hopeless' names no growth"):
        growth.measure_growth(two_rows[1])


def test_the_work_may_be_another_number_than_the_value():
    sizes = Growth("multiply-adds", (30, 10, 20), lambda n: lambda: sum(range(n * n)), work=lambda n: n**2)
    got = growth.measure_growth(row("square", growth=sizes), threads=1, budget_s=0.1)
    assert got.values == (10, 20, 30) and got.work == (100.0, 400.0, 900.0) and got.steps == ()


@pytest.mark.parametrize("text, count", [("0", 1), ("0-3", 4), ("0,2", 2), ("0-3,8-11", 8)])
def test_cores_that_share_a_cache(text, count):
    assert limits._count(text) == count


def test_the_rows_of_the_course():
    names = [one.name for one in cl.bench.rows()]
    assert len(set(names)) == len(names)
    assert {"lenet_300_100 int8, batch 1", "lenet_300_100 int8, batch 64"} <= set(names)


@pytest.mark.parametrize("batch", [1, 64])
def test_the_inference_row_times_the_same_network_three_times(batch):
    digits = cl.data.load("digits")
    case = cl.bench.inference.inference_row(batch=batch, dataset=digits, progress=False).prepare()
    ours = case.ours()
    assert set(case.peers) == {"torch float32", "torch simulated int8"}
    for name, peer in case.peers.items():
        logits = peer()
        assert not logits.requires_grad and logits.shape == ours.shape == (batch, 10), name
        same = (logits.numpy().argmax(1) == ours.argmax(1)).mean()
        assert same >= 0.95, name  # of 64: at most three near ties fall the other way
    assert case.bytes == 266_200 + batch * 784 * 4  # 266 610 parameters less 410 biases


def test_ahead_of_all_is_not_judged_while_one_is_missing():
    short, long = np.ones(1 << 8), np.ones(1 << 16)

    def judged(goal, **peers):
        case = Case(short.sum, {"long": long.sum, **peers}, bytes=short.nbytes)
        return cl.bench.run(Row("sum", "256", lambda: case, (goal,)), threads=1, budget_s=0.02).goals[0].met

    assert judged(Goal("best", 1e-6)) is True
    assert judged(Goal("best", 1e-6), other="not installed: other") is None
    assert judged(Goal("best", 1e6), other="not installed: other") is False
    assert judged(Goal("long", 1e-6), other="not installed: other") is True
