"""The pool: parts cover the work once, errors come out, counts can be set, nothing multiplies."""

import os
import subprocess
import sys
import threading

import pytest

import course_lib as cl
from course_lib.machine import pool, threads


@pytest.fixture(autouse=True)
def own_count():
    threads.set_threads(3)
    yield
    threads.set_threads(None)


def parts_of(count, **options):
    seen = []
    pool.run(lambda start, stop: seen.append((start, stop)), count, **options)
    return sorted(seen)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 1000])
@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize(("align", "grain"), [(1, 1), (4, 1), (64, 1), (1, 100)])
def test_parts_cover_the_work_once(count, threads, align, grain):
    parts = parts_of(count, threads=threads, align=align, grain=grain)
    assert [i for start, stop in parts for i in range(start, stop)] == list(range(count))
    assert len(parts) <= threads
    assert all(start % align == 0 for start, _ in parts)
    assert len(parts) == 1 or len(parts) <= count // grain


def test_nothing_to_do_calls_nothing():
    assert parts_of(0) == []


def test_parts_run_side_by_side():
    meeting = threading.Barrier(3, timeout=30)              # broken, and raising, unless three are there at once
    pool.run(lambda start, stop: meeting.wait(), 3)


def test_a_pool_in_a_pool_runs_in_one_part():
    inner = []
    pool.run(lambda start, stop: pool.run(lambda a, b: inner.append((a, b)), 10), 3)
    assert inner == [(0, 10)] * 3


@pytest.mark.parametrize("bad", [0, 2])
def test_an_error_comes_out_after_all_have_ended(bad):
    done = []

    def task(start, stop):
        if start == bad:
            raise ArithmeticError(f"part {start}")
        done.append(start)

    with pytest.raises(ArithmeticError, match=f"part {bad}"):
        pool.run(task, 3)
    assert sorted(done) == [part for part in range(3) if part != bad]
    assert parts_of(3) == [(0, 1), (1, 2), (2, 3)]          # and the pool still works


def test_the_count_can_be_set_from_the_front_door():
    cl.set_threads(2)
    assert cl.threads() == 2 and len(parts_of(10)) == 2
    cl.set_threads(None)
    assert cl.threads() >= 1


@pytest.mark.parametrize("count", [0, -1, 257, 2.0, "2", True])
def test_a_count_that_cannot_be_is_refused(count):
    with pytest.raises(ValueError, match="whole number from 1 to 256"):
        threads.set_threads(count)
    with pytest.raises(ValueError, match="threads is"):
        pool.run(lambda start, stop: None, 10, threads=count)
    assert threads.threads() == 3


@pytest.mark.parametrize(("told", "answer"), [("5", "5"), ("none", "whole number")])
def test_the_environment_sets_the_count(told, answer):
    code = "import course_lib as cl\ntry: print(cl.threads())\nexcept ValueError as error: print(error)"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"COURSE_THREADS": told},
                          capture_output=True, text=True, check=True)
    assert answer in done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_forked_process_has_a_pool_of_its_own():
    parts_of(3)
    child = os.fork()
    if child == 0:
        os._exit(0 if len(parts_of(3)) == 3 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
