"""One number in, one number out: fake-quantize, quantize with a coin, convert to narrow floats, pack and unpack.

Memory is the limit of them all. Ours and every peer that can write into a given array do so; the others make a new one
each time, as in use.
"""

import numpy as np

from course_lib.bench.report import PLAIN
from course_lib.kernels import plain
from course_lib.measure import Case, Goal, Growth, Row

N = 2**24
SIZES = tuple(2**k for k in range(10, 25, 2))
TORCH = {"e4m3": "float8_e4m3fn", "e5m2": "float8_e5m2", "bfloat16": "bfloat16"}
ML_DTYPES = {"e4m3": "float8_e4m3fn", "e5m2": "float8_e5m2", "bfloat16": "bfloat16"}
SCALE = 0.05


def rows() -> list[Row]:
    """The rows of this family."""
    return [
        Row("fake-quantize", "16M float32, 8 bits", _fake_quantize,
            (Goal("torch fake_quantize", 20), Goal("limit", 0.8)),
            growth=Growth("numbers", SIZES, lambda n: _fake_quantize(n, peers=False).ours, bytes=lambda n: 8 * n)),
        Row("fake-quantize per channel", "4096×4096 float32, 8 bits", lambda: _fake_quantize(granularity="per_channel"),
            (Goal("torch fake_quantize", 20), Goal("limit", 0.8))),
        Row("fake-quantize, groups of 128", "4096×4096 float32, 8 bits",
            lambda: _fake_quantize(granularity="per_group"), (Goal("limit", 0.8),),
            why="a new scale has to be taken every 128 numbers"),
        Row("stochastic quantize", "16M float32, 8 bits", _stochastic,
            (Goal("torch floor(x / S + rand)", 50), Goal("limit", 0.6)),
            why="each number takes half of a 64-bit random one, which a counter makes on the spot",
            growth=Growth("numbers", SIZES, lambda n: _stochastic(n, peers=False).ours, bytes=lambda n: 5 * n)),
        *(_conversion_row(name) for name in ("e4m3", "e5m2", "bfloat16")),
        *(Row(f"convert to {_short(name)}, stochastic", "16M float32",
              lambda name=name: _convert(name, rounding="stochastic"), (Goal(f"ours: convert to {_short(name)}", 0.5),),
              why="the random numbers cost more than the rounding") for name in ("e4m3", "e5m2", "bfloat16")),
        *(_packing_row(job, bits) for bits in (1, 2, 4) for job in ("pack", "unpack")),
    ]


def _short(name):
    return {"bfloat16": "bf16"}.get(name, name)


def _conversion_row(name):
    return Row(
        f"convert to {_short(name)}", "16M float32", lambda: _convert(name), (Goal("best", 2.0),),
        growth=Growth("numbers", SIZES, lambda n: _convert(name, n, peers=False).ours,
                      bytes=lambda n: (6 if name == "bfloat16" else 5) * n) if name == "e4m3" else None)


def _packing_row(job, bits):
    numpy = {1: f"NumPy {job}bits", 2: "NumPy shifts", 4: "NumPy shifts"}[bits]
    goal = Goal(numpy, 1.0) if bits == 1 else Goal(numpy, 5.0)
    growth = Growth("codes", SIZES, lambda n: _pack(job, bits, n, peers=False).ours, bytes=lambda n: n + n * bits // 8)
    return Row(f"{job} {bits} bit{'s' if bits > 1 else ''}", "16M codes", lambda: _pack(job, bits),
               (goal, Goal("limit", 0.8)),
               why="so few bytes that the call itself, and waking a second thread, take a part of the time",
               growth=growth if bits == 4 else None)


def _numbers(n):
    return np.random.default_rng(0).standard_normal(n, dtype=np.float32)


def _fake_quantize(n=N, *, granularity="per_tensor", peers=True):
    """Real numbers to the nearest of 255 levels, as floats."""
    from course_lib import numerics

    x, where = _numbers(n), {}
    if granularity != "per_tensor":
        x = x.reshape(4096, -1)
        where = {"granularity": granularity, **({"axis": 0} if granularity == "per_channel" else {"group_size": 128})}
    groups = {"per_tensor": (), "per_channel": x.shape[:1], "per_group": (len(x), x.shape[-1] // 128)}[granularity]
    reach = np.full(groups, 127 * SCALE)
    qparams = numerics.qparams_from_range(-reach, reach, bits=8, scheme="symmetric", **where)
    out, others = np.empty_like(x), {}
    steps = np.empty_like(x) if peers else None
    scale = np.repeat(qparams.scale, 128, axis=1) if granularity == "per_group" else qparams.scale
    scale = scale[:, None] if granularity == "per_channel" else scale

    def numpy():
        np.divide(x, scale, out=steps)
        np.rint(np.clip(steps, -127, 127, out=steps), out=steps)
        return np.multiply(steps, scale, out=steps)

    if peers:
        import torch

        tensor, scales = torch.from_numpy(x), torch.from_numpy(np.asarray(qparams.scale).reshape(-1).copy())
        zeros = torch.zeros(scales.numel(), dtype=torch.int32)
        if granularity == "per_tensor":
            others["torch fake_quantize"] = lambda: torch.fake_quantize_per_tensor_affine(
                tensor, float(qparams.scale), 0, -127, 127)
        elif granularity == "per_channel":
            others["torch fake_quantize"] = lambda: torch.fake_quantize_per_channel_affine(
                tensor, scales, zeros, 0, -127, 127)
        others["NumPy"] = numpy
        rows = x if x.ndim == 2 else x[None]
        scales_of_rows = np.asarray(qparams.scale).reshape(len(rows), -1)
        group, loop_out = rows.shape[1] // scales_of_rows.shape[1], np.empty_like(rows)
        others[PLAIN] = lambda: plain.fake_quantize(rows, scales_of_rows, group, -127, 127, loop_out)

    def same():
        ours = numerics.fake_quantize(x, qparams)
        others[PLAIN]()
        assert np.array_equal(ours, loop_out.reshape(x.shape)), "differs from the plain loop"
        assert np.array_equal(ours, numpy()), "differs from NumPy"
        if "torch fake_quantize" in others:                         # multiplies by 1 / S: another level at ties
            far = np.abs(ours - others["torch fake_quantize"]().numpy())
            assert far.max() < 1.01 * SCALE and (far > SCALE / 2).mean() < 1e-5, "differs from torch"

    return Case(lambda: numerics.fake_quantize(x, qparams, out=out), others, bytes=2 * x.nbytes, same=same)


def _stochastic(n=N, *, peers=True):
    """Real numbers to 8-bit codes, up with a probability of what is left over."""
    from course_lib import numerics

    x, rng, others = _numbers(n), np.random.default_rng(1), {}
    qparams = numerics.qparams_from_range(-127 * SCALE, 127 * SCALE, bits=8, scheme="symmetric")
    codes, scale = np.empty(n, np.int8), float(qparams.scale)
    run = lambda: numerics.quantize(x, qparams, rounding="stochastic", rng=rng, out=codes)              # noqa: E731
    if peers:
        import torch

        tensor = torch.from_numpy(x)
        others["torch floor(x / S + rand)"] = lambda: torch.floor(tensor / scale + torch.rand_like(tensor))
        others["NumPy floor(x / S + rand)"] = lambda: np.floor(x / qparams.scale + rng.random(n, dtype=np.float32))
        others[PLAIN] = lambda: plain.stochastic_quantize(x, qparams.scale.item(), -127, 127, 0, codes)

    def same():
        for call in (others[PLAIN], run):
            call()
            off = codes - x / qparams.scale                         # all of them: each thread has a part
            assert (np.abs(off) < 1).all(), "a code that is not a neighbour"
            assert abs(off.mean(dtype=np.float64)) < 5 * 0.5 / n**0.5, "biased"

    return Case(run, others, bytes=5 * n, same=same)


def _convert(name, n=N, *, rounding="nearest", peers=True):
    """float32 to bit patterns of a narrow float."""
    from course_lib import numerics

    x, rng, others = _numbers(n), np.random.default_rng(1), {}
    codes = np.empty(n, numerics.encode(x[:1], name).dtype)
    if peers and rounding == "nearest":
        import torch

        tensor, kind = torch.from_numpy(x), getattr(torch, TORCH[name])
        result = torch.empty(n, dtype=kind)
        others["torch copy_"] = lambda: result.copy_(tensor)
        try:
            import ml_dtypes

            narrow, given = getattr(ml_dtypes, ML_DTYPES[name]), np.empty(n, getattr(ml_dtypes, ML_DTYPES[name]))
            others["ml_dtypes"] = lambda: np.copyto(given, x, casting="unsafe")
        except ImportError:
            others["ml_dtypes"] = "not installed: ml_dtypes"
        values, form = np.empty_like(x), numerics.FORMATS[name]
        grid = float(form.min_normal), 2.0 ** (1 - form.precision), float(form.max)
        others[PLAIN] = lambda: plain.round_to_format(x, *grid, values)         # the numbers, not their bit patterns

    def same():
        numerics.encode(x, name, out=codes)
        result.copy_(tensor)
        bits = {1: torch.uint8, 2: torch.uint16}[codes.itemsize]
        assert np.array_equal(codes, result.view(bits).numpy()), "differs from torch"
        if not isinstance(others["ml_dtypes"], str):
            assert np.array_equal(codes[: 2**20], x[: 2**20].astype(narrow).view(codes.dtype)), "differs from ml_dtypes"
        others[PLAIN]()
        assert np.array_equal(numerics.decode(codes, name), values), "differs from the plain loop"

    return Case(lambda: numerics.encode(x, name, rounding=rounding, rng=rng, out=codes), others,
                bytes=x.nbytes + codes.nbytes, same=same if others else None)


def _pack(job, bits, n=N, *, peers=True):
    """Codes of 1, 2 or 4 bits, a byte each, to a stream without gaps, or back."""
    from course_lib.coding import pack, unpack

    codes = np.random.default_rng(0).integers(0, 2**bits, n).astype(np.uint8)
    packed = pack(codes, bits)
    each, given = 8 // bits, np.empty_like(packed if job == "pack" else codes)

    def numpy_pack():
        if bits == 1:
            return np.packbits(codes, bitorder="little")
        np.copyto(given, codes[::each])
        for j in range(1, each):
            np.bitwise_or(given, codes[j::each] << (j * bits), out=given)
        return given

    def numpy_unpack():
        if bits == 1:
            return np.unpackbits(packed, bitorder="little")
        for j in range(each):
            np.bitwise_and(packed >> (j * bits), 2**bits - 1, out=given[j::each])
        return given

    ours = {"pack": lambda: pack(codes, bits, out=given),
            "unpack": lambda: unpack(packed, bits, n, signed=False, out=given)}[job]
    numpy = {"pack": numpy_pack, "unpack": numpy_unpack}[job]
    name = f"NumPy {job}bits" if bits == 1 else "NumPy shifts"
    loop_out = np.zeros_like(given) if peers else None              # packing sets bits again that are set already
    loop = {"pack": lambda: plain.pack(codes, bits, loop_out),
            "unpack": lambda: plain.unpack(packed, bits, loop_out)}[job]

    def same():
        assert np.array_equal(ours().copy(), numpy()), "differs from NumPy"
        loop()
        assert np.array_equal(ours(), loop_out), "differs from the plain loop"

    others = {name: numpy, PLAIN: loop} if peers else {}
    return Case(ours, others, bytes=codes.nbytes + packed.nbytes, same=same)
