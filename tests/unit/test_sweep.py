"""Long runs: what is finished is kept, whatever happens, and the table is the same in the end."""

import errno
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from course_lib import sweep

SETTINGS = sweep.grid(bits=[4, 8], name=["a", "b, c", 'd"'], seed=range(3))


def compute(bits, name, seed):
    return {"score": bits / 3 + seed, "loss": None, "words": f"{name} & {bits}"}


def table(tmp_path, compute=compute, settings=SETTINGS, **options):
    path = tmp_path / "table.csv"
    rows = sweep.run(path, settings, compute, progress=False, **options)
    assert [one.name for one in tmp_path.iterdir()] == ["table.csv"]
    return rows, path.read_bytes()


def test_rows_stand_in_the_order_of_the_settings_and_come_back_as_numbers(tmp_path):
    rows, content = table(tmp_path)
    assert [{name: row[name] for name in ("bits", "name", "seed")} for row in rows] == SETTINGS
    assert rows[1] == {"bits": 4, "name": "a", "seed": 1, "score": 4 / 3 + 1, "loss": None, "words": "a & 4"}
    assert content.startswith(b"bits,name,seed,score,loss,words\n4,a,0,") and content.count(b"\n") == 19


def test_an_executor_writes_the_same_table(tmp_path):
    def late_first(bits, name, seed):
        time.sleep(0.02 * (bits == 4))
        return compute(bits, name, seed)

    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    with ThreadPoolExecutor(max_workers=2) as pool:
        assert table(tmp_path / "here", late_first, executor=pool) == table(tmp_path / "there")
        assert pool.submit(abs, -1).result() == 1, "the executor is left open"


PROCESSES = """
import os, sys
from concurrent.futures import ProcessPoolExecutor
from course_lib import sweep
def compute(x):
    return {"square": x * x, "here": os.getpid() == int(os.environ["FIRST"])}
if __name__ == "__main__":
    os.environ["FIRST"] = str(os.getpid())
    with ProcessPoolExecutor(2) as pool:
        sweep.run(sys.argv[1], sweep.grid(x=range(5)), compute, executor=pool, progress=False)
"""


def test_rows_may_come_from_other_processes(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PROCESSES, encoding="utf-8")
    subprocess.run([sys.executable, str(script), str(tmp_path / "table.csv")], check=True)
    assert sweep.read(tmp_path / "table.csv") == [{"x": x, "square": x * x, "here": False} for x in range(5)]


SLOW = """
import sys, time
from course_lib import sweep
def compute(x):
    time.sleep(0.05)
    return {"square": x * x}
print("begun", flush=True)
sweep.run(sys.argv[1], sweep.grid(x=range(40)), compute, progress=False)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_kill_loses_no_finished_row(tmp_path):
    path = tmp_path / "table.csv"
    part = tmp_path / "table.csv.part"
    path.write_text("x,square\n1,old\n")
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(path)], stdout=subprocess.PIPE)
    process.stdout.readline()
    while not part.exists() or part.read_bytes().count(b"\n") < 4:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    finished = part.read_bytes().count(b"\n") - 1
    assert path.read_text() == "x,square\n1,old\n", "the old table stays until the new one is whole"
    with part.open("ab") as file:
        file.write(b"39,15")                            # half a line, as a machine that is switched off may leave it
    called = []

    def square(x):
        called.append(x)
        return {"square": x * x}

    rows = sweep.run(path, sweep.grid(x=range(40)), square, progress=False)
    assert 3 <= finished < 40 and called == list(range(finished, 40))
    assert rows == [{"x": x, "square": x * x} for x in range(40)]
    assert not part.exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_row_that_fails_is_named_and_the_finished_ones_are_kept(tmp_path, workers):
    called = []

    def fails_once(bits, name, seed):
        called.append((bits, name, seed))
        if (bits, name, seed) == (8, "a", 1) and broken:
            raise ZeroDivisionError("by zero")
        return compute(bits, name, seed)

    pool = ThreadPoolExecutor(workers) if workers else None
    broken = True
    words = r"bits=8, name='a', seed=1 ended with ZeroDivisionError: by zero"
    with pytest.raises(sweep.SweepFailed, match=words) as failed:
        table(tmp_path, fails_once, executor=pool)
    assert isinstance(failed.value.__cause__, ZeroDivisionError)
    broken, before = False, len(called)
    again = table(tmp_path, fails_once, executor=pool)
    assert len(called) <= len(SETTINGS) + 1 and len(called) > before
    (tmp_path / "plain").mkdir()
    assert again == table(tmp_path / "plain")


def test_a_stopped_run_goes_on_with_other_settings_beside_the_old_ones(tmp_path):
    def stops(x):
        if x == 2:
            raise KeyboardInterrupt
        return {"square": x * x}

    path = tmp_path / "table.csv"
    with pytest.raises(KeyboardInterrupt):
        sweep.run(path, sweep.grid(x=range(4)), stops, progress=False)
    rows = sweep.run(path, sweep.grid(x=[5, 1]), lambda x: {"square": x * x}, progress=False)
    assert rows == [{"x": 5, "square": 25}, {"x": 1, "square": 1}]


@pytest.mark.parametrize("settings, results, said", [
    ([{"x": 1}, {"y": 1}], {"z": 0}, "should have the same"),
    ([{"x": 1}, {"x": "1"}], {"z": 0}, "twice"),
    ([{"x": [1]}], {"z": 0}, "x is a list"),
    ([{"x": 1}], {"x": 0}, "repeat the names"),
    ([{"x": 1}], {"z": "two\nlines"}, "line break"),
    ([{"x": 1}], 3, "returned a int"),
])  # fmt: skip
def test_what_cannot_be_a_table_is_refused(tmp_path, settings, results, said):
    with pytest.raises(ValueError, match=said):
        table(tmp_path, lambda **setting: results, settings)


def test_results_with_other_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="should agree"):
        table(tmp_path, lambda x: {f"square{x}": x}, sweep.grid(x=[1, 2]))


def test_kept_rows_with_other_columns_are_not_mixed_in(tmp_path):
    part = tmp_path / "table.csv.part"
    part.write_text("y,square\n1,1\n")
    with pytest.raises(ValueError, match="delete it"):
        sweep.run(tmp_path / "table.csv", sweep.grid(x=[1]), lambda x: {"square": x}, progress=False)
    assert part.read_text() == "y,square\n1,1\n"


def test_two_processes_do_not_compute_the_same_table(tmp_path):
    def again(x):
        with pytest.raises(RuntimeError, match="another process"):
            sweep.run(tmp_path / "table.csv", sweep.grid(x=[1]), lambda x: {"y": x}, progress=False)
        return {"y": x}

    assert sweep.run(tmp_path / "table.csv", sweep.grid(x=[1]), again, progress=False) == [{"x": 1, "y": 1}]


def test_no_settings_make_an_empty_table(tmp_path):
    assert table(tmp_path, settings=[]) == ([], b"\n")


def test_reading_what_looks_like_numbers(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b,python,c,d\n1,0.5,3.10,1_0,True\n,nan,3.9,inf,x\n", encoding="utf-8")
    first, second = sweep.read(path, text=["python"])
    assert first == {"a": 1, "b": 0.5, "python": "3.10", "c": "1_0", "d": True} and type(first["a"]) is int
    assert second["a"] is None and second["b"] != second["b"] and second["c"] == float("inf") and second["d"] == "x"


@pytest.mark.skipif(os.name == "nt", reason="locks are those of POSIX here")
def test_a_disk_that_knows_no_locks(tmp_path, monkeypatch):
    import fcntl

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / "t.csv"
    assert sweep.run(path, [{"x": 2}], lambda x: {"y": x * x}, progress=False) == [{"x": 2, "y": 4}]
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_that_a_spreadsheet_has_saved(tmp_path):
    (tmp_path / "t.csv").write_bytes("\ufeffbits,psnr\r\n4,31.5\r\n".encode())
    assert sweep.read(tmp_path / "t.csv") == [{"bits": 4, "psnr": 31.5}]
