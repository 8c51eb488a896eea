"""Weight sharing: Lloyd's iterations and the optimal clusters against their definitions and scikit-learn."""

from itertools import combinations

import numpy as np
import pytest
from course_lib.numerics import Start, kmeans, kmeans_optimal, kmeans_plain, nearest_level, sharing_rate

DTYPES = [np.float32, np.float64]


def normal(n, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(0, 0.05, n).astype(dtype)


def sse_of(x, result):
    return np.sum((x.astype(np.float64) - result.codebook.astype(np.float64)[result.codes]) ** 2)


def least_sse(x, k):
    """The smallest squared error of all ways to cut the sorted numbers into k parts. The definition."""
    x = np.sort(x.astype(np.float64).ravel())
    parts = [np.split(x, cuts) for cuts in combinations(range(1, x.size), min(k, x.size) - 1)]
    return min(sum(np.sum((part - part.mean()) ** 2) for part in some) for some in parts)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("start", list(Start))
def test_equals_the_definition(start, dtype):
    """From each start, the same centres and codes as plain Python, round by round and at the end."""
    from course_lib.numerics.sharing import _centres
    x = normal(300, dtype)
    begin = _centres(np.sort(x), 7, Start(start), np.random.default_rng(3))
    for rounds in (1, 2, 5, 1000):
        result = kmeans(x, 7, start=start, rng=np.random.default_rng(3), most_iterations=rounds)
        centres, _ = kmeans_plain(x.tolist(), begin.tolist(), rounds)
        np.testing.assert_allclose(result.codebook, centres, rtol=1e-6 if dtype == np.float32 else 1e-12, atol=1e-12)
        assert (result.codes == nearest_level(x, result.codebook)).all()
        assert result.sse == pytest.approx(sse_of(x, result), rel=1e-9)
        assert result.codebook.dtype == dtype and result.codes.dtype == np.uint8 and result.codes.shape == x.shape
    assert 1 < result.iterations < 1000


@pytest.mark.parametrize("start", ["linear", "random", "k-means++"])
def test_no_worse_than_scikit_learn(start):
    """The same first centres, the same k: scikit-learn's error after its iterations is not below ours."""
    from course_lib.numerics.sharing import _centres
    from sklearn.cluster import KMeans as Theirs
    x = normal(20_000)
    begin = _centres(np.sort(x), 32, Start(start), np.random.default_rng(0))
    theirs = Theirs(32, init=begin[:, None], n_init=1).fit(x[:, None])
    ours = kmeans(x, 32, start=begin)
    assert ours.sse <= theirs.inertia_ * (1 + 1e-6)
    to_the_end = Theirs(32, init=begin[:, None], n_init=1, tol=0, max_iter=1000).fit(x[:, None])
    assert ours.sse == pytest.approx(to_the_end.inertia_, rel=1e-3)


def test_starts():
    x = np.float32([0, 1, 2, 3, 10])
    assert kmeans(x, 3, start="linear", most_iterations=1).codebook.tolist() == [1, 3, 10]      # starts at 0, 5, 10
    assert kmeans(x, 2, start=[9.0, 0.0]).codebook.tolist() == [1.5, 10]
    for start in ("random", "k-means++"):
        one = kmeans(normal(500), 9, start=start, rng=np.random.default_rng(1))
        two = kmeans(normal(500), 9, start=start, rng=np.random.default_rng(1))
        assert one.sse == two.sse and (one.codebook == two.codebook).all()


@pytest.mark.parametrize("start", list(Start))
def test_any_start_with_few_numbers(start):
    rng = np.random.default_rng(0)
    for x in (np.full(9, 2.0), np.array([1.0]), np.repeat([0.0, 1, 5], [50, 1, 1]), np.repeat([-1.0, 3], 20)):
        for k in (1, 2, 3, 20):
            result = kmeans(x, k, start=start, rng=rng)
            assert result.sse == pytest.approx(sse_of(x, result))
            assert result.codebook.size == min(k, np.unique(x).size) and (np.diff(result.codebook) > 0).all()


def test_plus_plus_draws_by_squared_distance():
    """Numbers 0, 1 and 3: after 0 comes 1 with probability 1/10, and so on for the other first draws."""
    from course_lib.numerics.sharing import _plus_plus
    x, rng = np.float32([0, 1, 3]), np.random.default_rng(0)
    pairs = [tuple(np.round(_plus_plus(x, 2, rng)).tolist()) for _ in range(4000)]
    expected = {(0, 1): (1 / 10 + 1 / 5) / 3, (0, 3): (9 / 10 + 9 / 13) / 3, (1, 3): (4 / 5 + 4 / 13) / 3}
    for pair, share in expected.items():
        assert abs(pairs.count(pair) / 4000 - share) < 4 * np.sqrt(share / 4000)


def test_an_empty_cluster_takes_the_farthest_number():
    x = np.array([0, 0.1, 0.2, 0.3, 100.0])
    result = kmeans(x, 3)                                       # starts at 0, 50, 100: nothing is near 50
    assert result.codebook.tolist() == pytest.approx([0.1, 0.3, 100]) or len(result.codebook) == 3
    assert result.sse == pytest.approx(kmeans_optimal(x, 3).sse)
    assert kmeans(x, 3, start=[7.0, 7.0, 7.0]).sse == pytest.approx(result.sse)     # three in one place


@pytest.mark.parametrize("share", [kmeans, kmeans_optimal])
@pytest.mark.parametrize("dtype", DTYPES)
def test_edges(share, dtype):
    constant = share(np.full((2, 3), 0.3, dtype), 4)
    assert constant.codebook.tolist() == [dtype(0.3)] and constant.sse == 0 and not constant.codes.any()
    few = share(np.array([[2, -1], [2, -0.0]], dtype), 5)
    assert few.codebook.tolist() == [-1, 0, 2] and few.sse == 0 and few.codes.tolist() == [[2, 0], [2, 1]]
    assert not np.signbit(few.codebook[1])
    assert share(np.array(1.5, dtype), 1).codes.shape == ()
    one = share(np.arange(5, dtype=dtype), 1)
    assert one.codebook.tolist() == [2] and one.sse == 10
    many = share(normal(3000, dtype), 300)
    assert many.codes.dtype == np.uint16 and many.codebook.shape == (300,)
    assert many.sse == pytest.approx(sse_of(normal(3000, dtype), many), rel=1e-9)
    tied = share(np.array([0, 0, 1, 2, 2], dtype), 2)           # 1 may go either way: it takes the lower entry
    assert tied.sse == pytest.approx(2 / 3)
    x = normal(40, dtype).reshape(8, 5)
    kept = x.copy()
    assert (share(np.asfortranarray(x), 3).codes == share(x, 3).codes).all()
    assert (share(x.astype(x.dtype.newbyteorder()), 3).codes == share(x, 3).codes).all()
    assert (x == kept).all()


def test_middle_goes_down():
    assert kmeans(np.array([0.0, 1, 2]), 2, start=[0.0, 2.0], most_iterations=1).codebook.tolist() == [0.5, 2]


@pytest.mark.parametrize("offset", [0, 1e6])
def test_large_offsets_keep_their_digits(offset):
    x = normal(2000, np.float64) + offset
    near, exact = kmeans(x, 8), kmeans_optimal(x, 8)
    assert near.sse == pytest.approx(kmeans(x - offset, 8).sse, rel=1e-4)
    assert exact.sse == pytest.approx(kmeans_optimal(x - offset, 8).sse, rel=1e-4)


def test_refusals():
    x = normal(10)
    for share in (kmeans, kmeans_optimal):
        for k in (0, 2.0, 70_000):
            with pytest.raises(ValueError, match="k=.* must be a whole number from 1 to 65536"):
                share(x, k)
        with pytest.raises(TypeError, match="x has dtype int64; it must be float32 or float64"):
            share(np.arange(3), 2)
        with pytest.raises(ValueError, match="x is empty"):
            share(np.zeros((0, 2)), 2)
        with pytest.raises(ValueError, match=r"x has 1 NaN, the first at index \(1,\)"):
            share(np.array([0, np.nan, 1]), 2)
        with pytest.raises(ValueError, match="x has 1 infinities"):
            share(np.array([0, np.inf, 1]), 2)
        with pytest.raises(ValueError, match="beyond ±1e.150"):
            share(np.array([0, 1e200, 1]), 2)
    with pytest.raises(ValueError, match=r"start has shape \(3,\); k=2 takes"):
        kmeans(x, 2, start=[1.0, 2, 3])
    with pytest.raises(ValueError, match="start='best' is not one of 'linear'"):
        kmeans(x, 2, start="best")
    with pytest.raises(ValueError, match="start='random' needs rng"):
        kmeans(x, 2, start="random")
    with pytest.raises(ValueError, match="most_iterations=0"):
        kmeans(x, 2, most_iterations=0)
    with pytest.raises(ValueError, match="k=65536 times 70000 different numbers"):
        kmeans_optimal(np.arange(70_000.0), 2**16)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("n", [7, 8, 11])
def test_optimal_equals_all_ways_to_cut(k, n):
    rng = np.random.default_rng(n * k)
    for x in (rng.normal(size=n), rng.integers(0, 5, n) / 2, rng.exponential(size=n) ** 3):
        result = kmeans_optimal(x, k)
        assert result.sse == pytest.approx(least_sse(x, k), rel=1e-9, abs=1e-12)
        assert result.sse == pytest.approx(sse_of(x, result), rel=1e-9, abs=1e-12)
        assert kmeans(x, k).sse >= result.sse * (1 - 1e-9) - 1e-12


def test_optimal_beats_every_start():
    x = normal(5000)
    exact = kmeans_optimal(x, 16).sse
    for start in Start:
        assert kmeans(x, 16, start=start, rng=np.random.default_rng(0)).sse >= exact * (1 - 1e-6)


def test_threads_change_nothing():
    x = normal(200_001)
    ones = kmeans(x, 32, threads=1)
    for threads in (2, 3):
        some = kmeans(x, 32, threads=threads)
        assert (some.codes == ones.codes).all() and (some.codebook == ones.codebook).all() and some.sse == ones.sse


def test_sharing_rate():
    assert sharing_rate(16, 32, 4) == 3.2
    assert sharing_rate(1000, 32, 32) == pytest.approx(32 / 5, rel=0.2)
