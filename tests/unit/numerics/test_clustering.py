"""Weight sharing: Lloyd's iterations and the optimal clusters against their definitions and scikit-learn."""

from fractions import Fraction
from itertools import accumulate, combinations

import numpy as np
import pytest

from course_lib.numerics import (
    Start,
    first_centroids,
    kmeans,
    kmeans_optimal,
    kmeans_plain,
    nearest_level,
    sharing_rate,
)

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
    x = normal(300, dtype)
    begin = first_centroids(x, 7, start, rng=np.random.default_rng(3))
    for rounds in (1, 2, 5, 1000):
        result = kmeans(x, 7, start=start, rng=np.random.default_rng(3), most_iterations=rounds)
        centres, _ = kmeans_plain(x.tolist(), begin.tolist(), rounds)
        np.testing.assert_allclose(result.codebook, centres, rtol=1e-6 if dtype == np.float32 else 1e-12, atol=1e-12)
        assert (result.codes == nearest_level(x, result.codebook)).all()
        assert result.sse == pytest.approx(sse_of(x, result), rel=1e-9)
        assert result.codebook.dtype == dtype and result.codes.dtype == np.uint8 and result.codes.shape == x.shape
    assert 1 < result.iterations < 1000


@pytest.mark.parametrize("start", ["linear", "forgy", "k-means++"])
def test_no_worse_than_scikit_learn(start):
    """The same first centres, the same k: scikit-learn's error after its iterations is not below ours."""
    from sklearn.cluster import KMeans as Theirs
    x = normal(20_000)
    begin = first_centroids(x, 32, start, rng=np.random.default_rng(0))
    theirs = Theirs(32, init=begin[:, None], n_init=1).fit(x[:, None])
    ours = kmeans(x, 32, start=begin)
    assert ours.sse <= theirs.inertia_ * (1 + 1e-6)
    to_the_end = Theirs(32, init=begin[:, None], n_init=1, tol=0, max_iter=1000).fit(x[:, None])
    assert ours.sse == pytest.approx(to_the_end.inertia_, rel=1e-3)


def test_starts():
    x = np.float32([0, 1, 2, 3, 10])
    assert kmeans(x, 3, start="linear", most_iterations=1).codebook.tolist() == [1, 3, 10]      # starts at 0, 5, 10
    assert kmeans(x, 2, start=[9.0, 0.0]).codebook.tolist() == [1.5, 10]
    for start in ("forgy", "k-means++"):
        one = kmeans(normal(500), 9, start=start, rng=np.random.default_rng(1))
        two = kmeans(normal(500), 9, start=start, rng=np.random.default_rng(1))
        assert one.sse == two.sse and (one.codebook == two.codebook).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("start", list(Start))
def test_first_centroids_are_where_kmeans_begins(start, dtype):
    """Asked for and handed over they change nothing; Forgy's and those of k-means++ are numbers of the data."""
    x = normal(400, dtype).reshape(20, 20)
    begin = first_centroids(x, 9, start, rng=np.random.default_rng(5))
    assert begin.shape == (9,) and begin.dtype == np.float64 and (np.diff(begin) > 0).all()
    for rounds in (1, 1000):
        one = kmeans(x, 9, start=start, rng=np.random.default_rng(5), most_iterations=rounds)
        two = kmeans(x, 9, start=begin, most_iterations=rounds)
        assert one.sse == two.sse and (one.codebook == two.codebook).all()
    assert np.isin(begin, x).all() or start is Start.LINEAR


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
    from course_lib.numerics.clustering import _plus_plus
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


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("outlier", [1e9, 1e10, 1e16])
def test_an_outlier_takes_no_digits_from_the_others(outlier, sign):
    """What is left beside 10⁹, 10¹⁰, 10¹⁶ is as if that number were not there, with one cluster less."""
    x = np.array([0, 1, 5, 6.5])
    for share in (kmeans, kmeans_optimal):
        start = {"start": [0.0, 6, outlier * sign]} if share is kmeans else {}
        result = share(np.append(x, outlier * sign), 3, **start)
        assert result.sse == 0.5 + 1.125
        assert sorted(result.codebook, key=abs) == [0.5, 5.75, outlier * sign]
    assert kmeans_optimal(np.array([0, 1, 5, 1e9]), 3).sse == 0.5
    drawn = {float(first_centroids(np.append(x, outlier * sign), 5, "k-means++", rng=np.random.default_rng(seed)).min())
             for seed in range(20)}
    assert drawn == {min(0.0, outlier * sign)}              # five of five numbers: each once, whatever their distance


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
    with pytest.raises(ValueError, match="start='forgy' needs rng"):
        kmeans(x, 2, start="forgy")
    for share in (kmeans, first_centroids):
        with pytest.raises(ValueError, match="start='random' has two meanings: take 'forgy'"):
            share(x, 2, start="random", rng=np.random.default_rng(0))
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


def exact_least(x, k):
    """The smallest squared error of k runs of the sorted numbers: running sums too are exact in fractions."""
    x = [Fraction(float(r)) for r in np.sort(x)]
    first, second = [0, *accumulate(x)], [0, *accumulate(r * r for r in x)]
    errors = {(i, j): second[j] - second[i] - (first[j] - first[i]) ** 2 / (j - i)
              for i in range(len(x)) for j in range(i + 1, len(x) + 1)}
    best = {j: errors[0, j] for j in range(1, len(x) + 1)}
    for c in range(1, k):
        best = {j: min(best[i] + errors[i, j] for i in range(c, j)) for j in range(c + 1, len(x) + 1)}
    return best[len(x)]


HOSTILE = {
    "an outlier": lambda x, small: np.append(x, 1e10),
    "outliers on both sides": lambda x, small: np.concatenate([[-1e10, 3e10, 4e10], x]),
    "far apart scales": lambda x, small: np.concatenate([x / 1e3, x + 1e4, 1e12 + x * 1e10]),
    "tiny clusters far from zero": lambda x, small: np.concatenate([1e6 + np.sort(x) // 0.25 * 10, x - 1e6]),
    "outliers beyond all digits": lambda x, small: np.concatenate([[-1e20], x, [1e20, 1.5e20]]),
    "duplicates": lambda x, small: np.round(x),
    "subnormal": lambda x, small: np.round(64 * x) * 2**20 * small,
    "many powers": lambda x, small: np.exp(9 * x) * np.sign(np.sin(1e3 * x)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", HOSTILE)
def test_optimal_on_hostile_numbers(kind, dtype):
    """Against all ways to cut, in exact arithmetic, on more numbers than a block of the kernel has; and k-means."""
    rng = np.random.default_rng(0)
    for n in (6, 40):
        x = HOSTILE[kind](rng.normal(size=n), float(np.finfo(dtype).smallest_subnormal)).astype(dtype)
        for k in (2, 3, 5):
            if np.unique(x).size > k:
                result = kmeans_optimal(x, k)
                ours = sum(exact_least(x[result.codes == c], 1) for c in range(k))
                assert ours <= exact_least(x, k) * (1 + Fraction(1, 10**9))
                assert result.sse <= kmeans(x, k).sse
                assert result.sse <= kmeans(x, k, start="density").sse * (1 + 1e-9)


def test_optimal_keeps_its_digits_among_many_blocks():
    """Two thousand numbers beside outliers: as without these."""
    x = normal(2000, np.float64)
    for k in (2, 5):
        alone, beside = kmeans_optimal(x, k), kmeans_optimal(np.concatenate([[-1e14], x, [1e14, 3e14]]), k + 3)
        assert beside.sse == pytest.approx(alone.sse, rel=1e-9)
        np.testing.assert_allclose(beside.codebook[1:-2], alone.codebook, rtol=1e-9, atol=1e-12)


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
