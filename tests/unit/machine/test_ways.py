"""Two ways to the same bits: which one is taken, and that it makes no difference but in time."""

import numba
import numpy as np
import pytest

from course_lib.kernels import sparse
from course_lib.machine import ways
from course_lib.products import DeepCompressed, SparseCSR, matmul_codebook, matmul_csr
from tests.unit.kernels.portable_sparse import sparse_weights


@pytest.fixture
def nothing_known(monkeypatch):
    monkeypatch.setattr(ways, "_chosen", {})
    monkeypatch.delenv("COURSE_WAY", raising=False)


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when told, as if the trials took so long."""
    now = [0.0]
    monkeypatch.setattr(ways, "perf_counter", lambda: now[0])

    def move(seconds):
        now[0] += seconds

    return move


@pytest.mark.parametrize("slow", ways.WAYS)
def test_the_faster_way_is_taken_and_measured_once(nothing_known, clock, slow):
    tried = []

    def trial(way):
        tried.append(way)
        busy = 50 if len(tried) % 5 == 0 else 0                         # now and then something else has the processor
        clock((2 if way == slow else 1) + busy)

    assert ways.faster("work", trial) != slow
    count = len(tried)
    assert set(tried) == set(ways.WAYS) and ways.faster("work", trial) != slow and len(tried) == count
    other = lambda way: clock(1 if way == slow else 2)
    assert ways.faster("other work", other) == slow


def test_the_environment_decides(nothing_known, monkeypatch):
    def trial(way):
        raise AssertionError("measured all the same")

    for way in ways.WAYS:
        monkeypatch.setattr(ways, "_chosen", {})
        monkeypatch.setenv("COURSE_WAY", way)
        assert ways.faster("work", trial) == way
    monkeypatch.setattr(ways, "_chosen", {})
    monkeypatch.setenv("COURSE_WAY", "fast")
    with pytest.raises(ValueError, match="COURSE_WAY='fast'; it must be one of vector, plain"):
        ways.faster("work", trial)


def test_a_way_is_forced_for_a_while(nothing_known, clock):
    trial = lambda way: clock(1 if way == "vector" else 2)
    with ways.forced("plain"):
        assert ways.faster("work", trial) == "plain"
    assert ways.faster("work", trial) == "vector"
    with pytest.raises(ValueError, match="way='simple'; it must be one of vector, plain"), ways.forced("simple"):
        pass
    with pytest.raises(KeyError), ways.forced("plain"):
        raise KeyError
    assert ways.faster("work", trial) == "vector"


def test_what_is_measured_is_the_work_itself(nothing_known):
    """Each kind of work is tried both ways at its first call, and the choice is one of the two."""
    from course_lib.numerics import clustering as sharing
    from course_lib.numerics import kmeans

    matmul_csr(SparseCSR.from_dense(np.ones((2, 2), np.float32)), np.ones(2, np.float32))
    matmul_codebook(DeepCompressed.from_dense(np.ones((2, 2), np.float32)), np.ones(2, np.float32))
    kmeans(np.arange(sharing.FEW, dtype=np.float32), 3)
    assert set(ways.chosen()) == {"CSR product", "Deep Compression product", "sort"}
    assert set(ways.chosen().values()) <= set(ways.WAYS)


def by_way(call):
    return [ways.call(way, call) for way in ways.WAYS]


@pytest.mark.parametrize("n", [1, 7, 8, 9, 31, 32, 33, 64, 300, 2**16 + 5])
def test_both_ways_give_the_same_bits(n):
    rng = np.random.default_rng(n)
    for density in (0.01, 0.1, 1):
        w = sparse_weights(rng, 19, n, density)
        x = (10 * rng.standard_normal(n)).astype(np.float32)
        x[rng.random(n) < 0.05] = np.inf
        shared = (sparse_weights(rng, 19, n, density, np.arange(1, k)) for k in (16, 33))
        for one, call in ((SparseCSR.from_dense(w), matmul_csr),
                          *((DeepCompressed.from_dense(v), matmul_codebook) for v in shared)):
            vector, plain = by_way(lambda one=one, call=call, x=x: call(one, x))
            assert vector.tobytes() == plain.tobytes()


def test_weights_without_a_column():
    """Fillers alone, by hand: there is no x[0] that they could read."""
    rows = np.arange(16, dtype=np.int32)
    w = DeepCompressed(np.zeros(16, np.uint8), np.array([0, 1]), rows, np.float32([1]), (16, 0))
    for y in by_way(lambda: matmul_codebook(w, np.zeros(0, np.float32))):
        assert y.tolist() == [0] * 16


@pytest.mark.parametrize("kernel", [sparse.csr_by_loads, sparse.codebook_by_loads], ids=lambda kernel: kernel.__name__)
def test_the_plain_way_has_no_gathers(kernel):
    """Not even where the compiler would put one in: the machine code of this processor has none."""
    compiled = numba.njit(kernel.signatures[:1], nogil=True)(kernel.py_func)
    (code,) = compiled.inspect_asm().values()
    assert "gather" not in code
