"""Conversion to float formats: bit for bit with ml_dtypes, NumPy and torch, at the edges, and in all five roundings."""


import ml_dtypes
import numpy as np
import pytest

from course_lib.kernels import elementwise, floats
from course_lib.numerics import (
    FORMATS,
    FloatFormat,
    Rounding,
    decode,
    decode_one,
    encode,
    encode_one,
    to_format,
    to_format_one,
    uniform_one,
)
from course_lib.numerics.conversion import grid_of, rounded_into

PEERS = {
    "fp16": np.float16, "bfloat16": ml_dtypes.bfloat16, "e5m2": ml_dtypes.float8_e5m2, "e4m3": ml_dtypes.float8_e4m3fn,
    "e4m3_ieee": ml_dtypes.float8_e4m3, "e3m2": ml_dtypes.float6_e3m2fn, "e2m3": ml_dtypes.float6_e2m3fn,
    "e2m1": ml_dtypes.float4_e2m1fn,
}
TORCH = {"fp16": "float16", "bfloat16": "bfloat16", "e5m2": "float8_e5m2", "e4m3": "float8_e4m3fn"}
DIRECTED = [Rounding.DOWN, Rounding.UP, Rounding.TOWARD_ZERO]
NARROW = [name for name, format in FORMATS.items() if format.bits <= 16]
CONVERTED = [name for name in FORMATS if name != "fp128"]


def same(a, b):
    """Equal to the last bit, the sign of zero included; any NaN equals any NaN."""
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True) and (
        np.signbit(a) == np.signbit(b))[~np.isnan(a)].all()


def bits_of(x):
    return x.view(f"u{x.dtype.itemsize}")


def without_nan(x, name):
    return x[~np.isnan(x)] if FORMATS[name].nan_code is None else x


@pytest.fixture(scope="module")
def million():
    """Two million random bit patterns of float32, and a million numbers of the size that networks have."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 2**32, 2_000_000, dtype=np.uint32).view(np.float32)
    usual = rng.normal(size=1_000_000) * 2.0 ** rng.integers(-12, 12, 1_000_000)
    return np.concatenate([patterns, usual.astype(np.float32)])


def hard_cases(format, dtype):
    """Every number of a small format (some of a wide one), what lies between two and next to it; zeros, inf and NaN."""
    if format.bits <= 8:
        values = format.values()
    else:
        rng = np.random.default_rng(1)
        picked = rng.integers(0, format.max_code, 200, dtype=np.uint64)
        low_end, top = np.arange(20), format.max_code - np.arange(20)
        codes = np.concatenate([picked, low_end, top, 2**format.significand_bits + np.arange(-9, 9)])
        values = np.array([decode_one(int(code), format) for code in codes])
        values = np.unique(np.concatenate([-values, values]))
    values = values.astype(dtype)
    middles = values[:-1] / 2 + values[1:] / 2
    biggest = dtype(format.max)
    with np.errstate(over="ignore", under="ignore"):
        beyond = biggest * np.array([1 + format.unit_roundoff, 1.1, 1.5, 2, 1e9], dtype)
        specials = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan], dtype)
        x = np.concatenate([values, middles, beyond, -beyond, specials])
        up, down = np.nextafter(x, dtype(np.inf)), np.nextafter(x, dtype(-np.inf))
    tiny = np.finfo(dtype).smallest_subnormal
    return without_nan(np.concatenate([x, up, down, [tiny, -tiny, 3 * tiny]]).astype(dtype), format.name)


@pytest.mark.parametrize("name", PEERS)
def test_random_floats_are_rounded_like_ml_dtypes_and_numpy_do(name, million):
    x = without_nan(million, name)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        peer = x.astype(PEERS[name])
    codes, real = encode(x, name), ~np.isnan(peer.astype(np.float32))
    assert codes.dtype == bits_of(peer).dtype
    assert (codes == bits_of(peer))[real].all()
    assert np.isnan(decode(codes, name)[~real]).all()
    if name != "fp16":                                      # NumPy keeps payloads
        assert (codes == bits_of(peer)).all()
    assert same(to_format(x, name), peer.astype(np.float32))


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_hard_cases_are_rounded_like_ml_dtypes_and_numpy_do(name, dtype):
    x = hard_cases(FORMATS[name], dtype)
    if dtype == np.float64:                                 # ml_dtypes may go by way of float32: nothing to round there
        x = hard_cases(FORMATS[name], np.float32).astype(np.float64)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        assert same(to_format(x, name), x.astype(PEERS[name]).astype(dtype))


@pytest.mark.parametrize("name, dtype", [("fp32", np.float32), ("fp16", np.float16)])
def test_doubles_are_rounded_once(name, dtype):
    patterns = np.random.default_rng(3).integers(0, 2**64, 300_000, dtype=np.uint64).view(np.float64)
    x = np.concatenate([patterns, np.random.default_rng(4).normal(size=300_000), hard_cases(FORMATS[name], np.float64)])
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        peer = x.astype(dtype)
    assert same(to_format(x, name), peer.astype(np.float64))
    real = ~np.isnan(x)
    assert (encode(x, name) == bits_of(peer))[real].all()


@pytest.mark.parametrize("name", TORCH)
def test_torch_agrees(name, million):
    """Of torch's 8-bit formats e4m3 saturates, infinities included, and e5m2 does not."""
    torch = pytest.importorskip("torch")
    theirs = torch.from_numpy(million).to(getattr(torch, TORCH[name]))
    saturate = True if name == "e4m3" else None
    assert same(to_format(million, name, saturate=saturate), theirs.float().numpy())
    codes, real = encode(million, name, saturate=saturate), ~np.isnan(million)
    assert (codes == theirs.view(getattr(torch, f"uint{FORMATS[name].bits}")).numpy())[real].all()
    assert same(decode(codes, name), theirs.float().numpy())


@pytest.mark.parametrize("name", NARROW)
def test_every_bit_pattern_decodes_and_stays(name):
    format = FORMATS[name]
    codes = np.arange(2**format.bits).astype(np.uint8 if format.bits <= 8 else np.uint16)
    numbers = decode(codes, name)
    assert numbers.dtype == np.float32
    assert same(numbers, codes.view(PEERS[name]).astype(np.float32))
    assert same(numbers, np.array([decode_one(int(code), format) for code in codes], np.float32))
    real = ~np.isnan(numbers)
    for mode in Rounding:
        for dtype in (np.float32, np.float64):
            again = encode(numbers[real].astype(dtype), name, rounding=mode, rng=np.random.default_rng(0))
            assert (again == codes[real]).all(), "a number of the format moved"


@pytest.mark.parametrize("wide", ["fp16", "bfloat16"])
@pytest.mark.parametrize("name", [name for name in PEERS if FORMATS[name].bits <= 8])
def test_every_16_bit_number_in_every_narrow_format(wide, name):
    x = without_nan(decode(np.arange(2**16), wide), name)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        assert (encode(x, name) == bits_of(x.astype(PEERS[name]))).all()


@pytest.mark.parametrize("name", ["fp32", "fp64", "tf32"])
def test_wide_formats_keep_their_bits(name):
    format = FORMATS[name]
    rng = np.random.default_rng(5)
    codes = rng.integers(0, 2**64, 20_000, dtype=np.uint64) >> np.uint64(64 - format.bits)
    numbers = decode(codes, name)
    assert numbers.dtype == (np.float64 if name == "fp64" else np.float32)
    assert same(numbers[:2000], np.array([decode_one(int(code), format) for code in codes[:2000]], numbers.dtype))
    real = ~np.isnan(numbers)
    assert (encode(numbers, name)[real] == codes[real]).all()
    if name != "tf32":
        assert (bits_of(numbers)[real] == codes[real]).all()
        x = bits_of(numbers).view(numbers.dtype)
        for mode in Rounding:
            assert same(to_format(x, name, rounding=mode, rng=rng), x)


@pytest.mark.parametrize("mode", Rounding)
@pytest.mark.parametrize("name", CONVERTED)
def test_kernel_is_the_definition(name, mode):
    format = FORMATS[name]
    seed = int(np.random.default_rng(7).integers(0, 2**64, dtype=np.uint64))
    for dtype in [np.float32] * format.holds(np.float32) + [np.float64]:
        x = hard_cases(format, dtype)
        for saturate in {format.saturates, True}:
            options = {"rounding": mode, "rng": np.random.default_rng(7), "saturate": saturate}
            one = [(r, format, mode.value, uniform_one(seed, i, dtype), saturate) for i, r in enumerate(x.tolist())]
            assert same(to_format(x, name, **options), np.array([to_format_one(*case) for case in one], dtype))
            codes = encode(x, name, **options | {"rng": np.random.default_rng(7)})
            assert codes.tolist() == [encode_one(*case) for case in one]


@pytest.mark.parametrize("mode", DIRECTED)
@pytest.mark.parametrize("name", NARROW)
def test_directed_modes_take_the_neighbour_in_the_list_of_values(name, mode, million):
    """The list knows nothing of spacings, exponents or bits."""
    format = FORMATS[name]
    values = format.values()
    x = million[-200_000:]
    x = x[np.abs(x) <= format.max]
    below, above = values[np.searchsorted(values, x, "right") - 1], values[np.searchsorted(values, x, "left")]
    wanted = {Rounding.DOWN: below, Rounding.UP: above, Rounding.TOWARD_ZERO: np.where(x > 0, below, above)}[mode]
    assert (to_format(x, name, rounding=mode) == wanted).all()


def test_overflow_worked_out():
    """Beyond the largest number, 448, lie 464 (halfway to the 480 that the format does not have) and the rest."""
    x = np.array([449, 464, 465, 1e9, np.inf, -465, -np.inf], np.float32)
    nan, inf = np.nan, np.inf
    for rounding, saturate, wanted in (
        ("nearest", False, [448, 448, nan, nan, nan, nan, nan]),
        ("nearest", True, [448, 448, 448, 448, 448, -448, -448]),
        ("down", False, [448, 448, 448, 448, nan, nan, nan]),
        ("up", False, [nan, nan, nan, nan, nan, -448, nan]),
        ("toward_zero", False, [448, 448, 448, 448, nan, -448, nan]),
        ("down", True, [448, 448, 448, 448, 448, -448, -448]),
    ):
        assert same(to_format(x, "e4m3", rounding=rounding, saturate=saturate), np.array(wanted, np.float32))
    x = np.array([57344, 61439, 61440, -61440, inf], np.float32)
    assert to_format(x, "e5m2").tolist() == [57344, 57344, inf, -inf, inf]
    assert to_format(x, "e5m2", saturate=True).tolist() == [57344, 57344, 57344, -57344, 57344]
    assert to_format(x, "e5m2", rounding="down").tolist() == [57344, 57344, 57344, -inf, inf]
    assert to_format(np.array([7.0, -1e9, inf]), "e2m1").tolist() == [6, -6, 6]


def test_nan_keeps_its_sign_and_loses_its_payload():
    x = np.array([0x7FC00000, 0x7F800001, 0xFFC12345, 0xFF800001], np.uint32).view(np.float32)
    for name, code in (("fp32", 0x7FC00000), ("tf32", 0x3FE00), ("fp16", 0x7E00), ("bfloat16", 0x7FC0), ("e5m2", 0x7E),
                       ("e4m3", 0x7F), ("e4m3_ieee", 0x7C)):
        sign = 1 << (FORMATS[name].bits - 1)
        for mode in Rounding:
            codes = encode(x, name, rounding=mode, rng=np.random.default_rng(0), saturate=True)
            assert codes.tolist() == [code, code, code + sign, code + sign]
            assert np.isnan(to_format(x, name, rounding=mode, rng=np.random.default_rng(0))).all()
    for name, payloads in (("e5m2", [0x7D, 0x7E, 0x7F, 0xFD]), ("e4m3", [0x7F, 0xFF]), ("fp64", [2**63 - 1])):
        assert np.isnan(decode(np.array(payloads), name)).all()
    for name in ("e3m2", "e2m3", "e2m1"):
        for convert in (to_format, encode):
            with pytest.raises(ValueError, match=r"x has 4 NaN, the first at index \(0,\)"):
                convert(x, name)


def test_zero_keeps_its_sign_and_so_does_what_becomes_zero():
    x = np.array([0.0, -0.0, 1e-9, -1e-9], np.float32)
    for name in ("e4m3", "e5m2", "e2m1", "fp16"):
        sign = 1 << (FORMATS[name].bits - 1)
        assert encode(x, name).tolist() == [0, sign, 0, sign]
        assert np.signbit(to_format(x, name, rounding="toward_zero")).tolist() == [False, True, False, True]
    smallest = FORMATS["e4m3"].min_subnormal
    assert to_format(x, "e4m3", rounding="up").tolist() == [0, 0, smallest, 0]
    assert to_format(x, "e4m3", rounding="down").tolist() == [0, 0, 0, -smallest]


def test_a_format_without_subnormals_has_a_gap_around_zero():
    format = FloatFormat("gap", 3, 2, subnormals=False)
    x = np.array([0.25, 0.2, 0.126, 0.125, 0.1, -0.2], np.float32)
    assert to_format(x, format).tolist() == [0.25, 0.25, 0.25, 0, 0, -0.25]
    assert to_format(x, format, rounding="down").tolist() == [0.25, 0, 0, 0, 0, -0.25]
    assert encode(x, format).tolist() == [4, 4, 4, 0, 0, 36]
    assert decode(np.arange(6), format).tolist() == [0, 0, 0, 0, 0.25, 0.3125]
    assert decode(np.array([32, 33]), format).tolist() == [0, 0]


def test_formats_with_few_bits_and_large_range_take_doubles():
    format = FloatFormat("wide", 9, 3)
    x = np.array([1e50, -1e-60, 3.3])
    assert (np.abs(to_format(x, format) / x - 1) < format.unit_roundoff).all()
    codes = encode(x, format)
    assert codes.dtype == np.uint16 and decode(codes, format).dtype == np.float64
    assert same(decode(codes, format), to_format(x, format))
    with pytest.raises(TypeError, match="x has dtype float32, which does not hold the numbers of wide: use x.astype"):
        to_format(x[2:].astype(np.float32), format)


@pytest.mark.parametrize("mode", Rounding)
def test_any_layout_gives_the_same(mode):
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    run = lambda x: to_format(x, "e4m3", rounding=mode, rng=np.random.default_rng(1))         # noqa: E731
    code = lambda x: encode(x, "e4m3", rounding=mode, rng=np.random.default_rng(1))           # noqa: E731
    kept, wanted = x.copy(), run(x)
    frozen = x.copy()
    frozen.flags.writeable = False
    strided = np.repeat(x, 2, axis=2)[:, :, ::2]
    for other in (np.asfortranarray(x), x.astype(">f4"), frozen, strided):
        assert same(run(other), wanted) and (decode(code(other), "e4m3") == wanted).all()
    if mode is not Rounding.STOCHASTIC:                             # float64 takes longer random numbers
        assert same(run(x.astype(np.float64)), wanted.astype(np.float64))
    assert (x == kept).all()
    for empty in (np.zeros(0, np.float32), np.zeros((2, 0, 3), np.float64)):
        assert run(empty).shape == code(empty).shape == empty.shape and run(empty).dtype == empty.dtype
        assert decode(code(empty), "e4m3").shape == empty.shape
    for shape in ((), (1,), (1, 1)):
        assert run(np.full(shape, 0.5)).shape == code(np.full(shape, 0.5)).shape == shape
        assert decode(code(np.full(shape, 0.5)), "e4m3").shape == shape


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name, value", [
    ("e4m3", 1.03), ("e4m3", -17.9), ("e4m3", 0.0003), ("e4m3", -0.0101), ("e4m3", 447.0), ("e4m3", 1.999),
    ("e5m2", 0.3), ("e5m2", -1000.0), ("e5m2", 3e-6), ("bfloat16", 3.14159), ("bfloat16", -1e-39), ("e2m1", 5.1),
])
def test_stochastic_is_unbiased(name, value, dtype):
    """The mean of n draws between two neighbours d apart has standard error d √(p (1 − p) / n), p the chance of up."""
    n = 200_000
    x = np.full(n, value, dtype)
    got = to_format(x, name, rounding="stochastic", rng=np.random.default_rng(11)).astype(np.float64)
    exact = float(x[0])
    low, high = FORMATS[name].neighbours(exact)
    assert set(np.unique(got)) == {low, high}
    p = (exact - low) / (high - low)
    assert abs((got == high).mean() - p) < 4.5 * np.sqrt(p * (1 - p) / n)
    assert abs(got.mean() - exact) < 4.5 * (high - low) * np.sqrt(p * (1 - p) / n)


def test_stochastic_errors_of_many_numbers_sum_like_a_random_walk():
    x = np.random.default_rng(2).normal(size=1_000_000).astype(np.float32)
    errors = to_format(x, "e4m3", rounding="stochastic", rng=np.random.default_rng(3)).astype(np.float64) - x
    down, up = (to_format(x, "e4m3", rounding=mode).astype(np.float64) for mode in ("down", "up"))
    variance = ((x - down) * (up - x)).sum()                            # d² p (1 − p), entry by entry
    assert abs(errors.sum()) < 4.5 * np.sqrt(variance)
    assert (errors**2).sum() == pytest.approx(variance, rel=0.01)       # a million terms: the spread is about 0.1 %
    assert abs((down - x).sum()) > 100 * np.sqrt(variance), "rounding down is biased, and the test would see it"


def test_stochastic_follows_its_generator():
    x = np.random.default_rng(0).normal(size=500).astype(np.float32)
    run = lambda rng: encode(x, "e5m2", rounding="stochastic", rng=rng)                       # noqa: E731
    first, again, other = (run(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()
    rng = np.random.default_rng(1)
    assert (run(rng) != run(rng)).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["e4m3", "bfloat16"])
def test_threads_and_chunks_do_not_change_stochastic_rounding(name, dtype):
    x = np.random.default_rng(0).normal(size=200_001).astype(dtype)
    run = lambda f, threads: f(x, name, rounding="stochastic", rng=np.random.default_rng(1), threads=threads)  # noqa: E731
    whole, codes = run(to_format, 1), run(encode, 1)
    for threads in (2, 3):
        assert (run(to_format, threads) == whole).all() and (run(encode, threads) == codes).all()
    assert (decode(codes, name) == whole).all()
    grid, seed = grid_of(FORMATS[name], Rounding.STOCHASTIC, None, np.dtype(dtype)), np.uint64(123456789)
    rounded_into(whole, x, grid, elementwise.STOCHASTIC, seed)
    cuts = [0, 1, 617, 2048, 2049, 5000, 12_345, x.size]                # a chunk may start anywhere
    for start, stop in zip(cuts, cuts[1:]):
        part = np.empty(stop - start, dtype)
        floats.round_to_format(x[start:stop], grid, elementwise.STOCHASTIC, seed, start, stop % 2 == 0, part)
        assert (part == whole[start:stop]).all()


def test_a_given_result_is_filled_and_a_wrong_one_refused():
    x = np.random.default_rng(0).normal(size=(3, 70)).astype(np.float32)
    out, codes = np.empty_like(x), np.empty(x.shape, np.uint16)
    assert to_format(x, "e5m2", out=out) is out and same(out, to_format(x, "e5m2"))
    assert encode(x, "fp16", out=codes) is codes and (codes == encode(x, "fp16")).all()
    assert decode(codes, "fp16", out=out) is out and same(out, decode(codes, "fp16"))
    kept = x.copy()
    assert to_format(x, "e5m2", out=x) is x and same(x, to_format(kept, "e5m2"))
    with pytest.raises(ValueError, match=r"out has shape \(3, 70\) and dtype uint16; "
                                         r"the result has \(3, 70\) and uint8"):  # fmt: skip
        encode(x, "e5m2", out=codes)
    with pytest.raises(ValueError, match="out must be C-contiguous and writeable"):
        to_format(x.T, "e5m2", out=out.T)
    with pytest.raises(TypeError, match="out is list"):
        to_format(x, "e5m2", out=[])


def test_refusals():
    x = np.ones(3, np.float32)
    for convert in (to_format, encode):
        with pytest.raises(ValueError, match="format='fp12' is neither a FloatFormat nor one of 'fp128', 'fp64'"):
            convert(x, "fp12")
        with pytest.raises(ValueError, match="format fp128 reaches beyond float64"):
            convert(x, "fp128")
        with pytest.raises(TypeError, match="x has dtype float32, which does not hold the numbers of fp64: use"):
            convert(x, "fp64")
        for wrong in (x.astype(np.float16), [1, 2]):
            with pytest.raises(TypeError, match="it must be float32 or float64"):
                convert(wrong, "e4m3")
        with pytest.raises(ValueError, match="rounding='half_up' is not one of 'nearest', 'down', 'up', 'toward_zero'"):
            convert(x, "e4m3", rounding="half_up")
        with pytest.raises(ValueError, match=r"rounding='stochastic' needs rng.*rng = np.random.default_rng\(0\)"):
            convert(x, "e4m3", rounding="stochastic")
        with pytest.raises(ValueError, match="saturate=False needs inf or NaN to overflow to, and e2m1 has neither"):
            convert(x, "e2m1", saturate=False)


def test_decode_refuses_what_is_no_code():
    with pytest.raises(TypeError, match="codes has dtype float64; it must be an integer dtype"):
        decode(np.array([1.0]), "e4m3")
    for wrong, name in ((np.array([256]), "e4m3"), (np.array([-1]), "e4m3"), (np.array([64], np.uint8), "e2m3")):
        with pytest.raises(ValueError, match=f"codes run from {wrong[0]} to {wrong[0]}; the . bits of {name} have"):
            decode(wrong, name)
    with pytest.raises(ValueError, match="format fp128 reaches beyond float64"):
        decode(np.array([1]), "fp128")
