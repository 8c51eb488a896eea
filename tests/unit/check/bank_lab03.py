"""Answers to lab 03 as people write them: wrong in one place, and right in other words."""

from course_lib.check import lab03
from tests.unit.check.variants import variants

ROUND_UP, AWAY = "halves are rounded up", "halves are rounded away from zero"

# ---------------------------------------------------------------------------------------------------- 1 code_range

RANGE = """
def code_range(bits, kind):
    if kind == "unsigned":
        return 0, 2**bits - 1
    half = 2 ** (bits - 1)
    if kind == "signed":
        return -half, half - 1
    return -(half - 1), half - 1
"""
RANGE_RIGHT = ["""
def code_range(bits, kind):
    low, high = (0, 2**bits) if kind == "unsigned" else (-(1 << bits >> 1) + (kind == "symmetric"), 1 << bits >> 1)
    return [low, high - 1]
""", """
def code_range(bits, kind):
    count = np.int64(2) ** bits - (kind == "symmetric")
    low = np.int64(0) if kind == "unsigned" else -(count // 2)
    return low, low + count - 1
"""]
RANGE_WRONG = variants(RANGE, {
    "0, 2**bits - 1": [
        "1, 2**bits", ("0, 2**bits", "off by one"), "0, 255", "0, 2 ** (bits - 1) - 1", "0, 2**bits - 2",
        "0, 2 * bits - 1", "0.0, 2.0**bits - 1",
    ],
    "**": ["^"],
    "-half, half - 1\n    return": [
        "-half, half\n    return", "1 - half, half\n    return", ("-half + 1, half - 1\n    return", "not told apart"),
    ],
    "-(half - 1), half": [("-half, half", "not told apart")],
    "-(half - 1), half - 1": ["-half, half", "-(half - 2), half - 1"],
    "-(half - 1)": ["half - 1"],
    "2 ** (bits - 1)": [
        ("2**bits", "the sign bit was forgotten"), "2 ** (bits - 2)", "2**bits // 2 + 1", "np.int8(2) ** (bits - 1)",
        "2 ** min(bits - 1, 7)", "2 ** (bits - 1) if bits > 1 else 2",
    ],
})

# ------------------------------------------------------------------------------------------------- 2 affine_params

AFFINE = """
def affine_params(alpha, beta, qmin, qmax):
    low, high = min(alpha, 0.0), max(beta, 0.0)
    if low == high:
        return 1.0, 0
    scale = (high - low) / (qmax - qmin)
    return scale, qmin - round(low / scale)
"""
AFFINE_RIGHT = ["""
def affine_params(alpha, beta, qmin, qmax):
    if alpha > 0:
        alpha = 0
    if beta < 0:
        beta = 0
    if alpha == 0 and beta == 0:
        return np.array([1, 0])
    scale = np.float64(beta - alpha) / np.float64(qmax - qmin)
    return scale, np.int64(np.round(qmin - alpha / scale))
""", """
def affine_params(alpha, beta, qmin, qmax):
    ends = np.array([alpha, beta, 0])
    steps, width = qmax - qmin, ends.max() - ends.min()
    if not width:
        return 1, 0
    return width / steps, int(np.rint(qmax - ends.max() / width * steps))
""", """
import torch
def affine_params(alpha, beta, qmin, qmax):
    low, high = torch.tensor([alpha, 0.0]).min().double(), torch.tensor([beta, 0.0]).max().double()
    scale = (high - low) / (qmax - qmin)
    if scale == 0:
        return torch.tensor(1.0), torch.tensor(0)
    return scale, (qmin - torch.round(low / scale)).int()
"""]
AFFINE_WRONG = variants(AFFINE, {
    "low == high": [
        "alpha == beta", "alpha == 0 or beta == 0", "alpha == 0", "beta == 0", "alpha + beta == 0", "low + high == 0",
        "alpha * beta == 0", "high - low < 1e-6", "high - low < 1e-12", "np.isclose(low, high)",
        "np.isclose(alpha, beta)", "math.isclose(alpha, beta, rel_tol=1e-3)", "round(low, 3) == round(high, 3)",
    ],
    "    if low": [
        "    assert alpha < beta or alpha == 0\n    if low",
        "    if alpha == beta != 0:\n        raise ValueError('no range')\n    if low",
        "    if alpha == beta:\n        return 1.0, qmin\n    if low",
        "    if alpha == beta:\n        return alpha or 1.0, 0\n    if low",
    ],
    "return 1.0, 0": [
        "return 1.0, qmin", "return 1.0, (qmin + qmax) // 2", "return 0.0, 0", "return 1e-8, 0",
        "return 1 / (qmax - qmin), 0",
    ],
    "(high - low) /": ["(high - low + 1e-8) /", ("(beta - alpha) /", "not widened"), "high /"],
    "(high - low) / (qmax - qmin)": ["max((high - low) / (qmax - qmin), 1e-8)"],
    "min(alpha, 0.0)": ["alpha"],
    "max(beta, 0.0)": ["beta"],
    "min(alpha, 0.0), max(beta, 0.0)": ["max(alpha, 0.0), min(beta, 0.0)", "-max(-alpha, beta), max(-alpha, beta)"],
    "(qmax - qmin)": ["qmax", ("(qmax - qmin + 1)", "off by one"), "(qmax - qmin - 1)", "max(qmax - qmin, 2)", "255"],
    "= (high - low)": ["= np.float16(high - low)"],
    "round(low / scale)": [
        ("int(low / scale)", "cut off"), "math.floor(low / scale)", ("math.ceil(low / scale)", "cut off"),
        "low / scale", "np.rint(low / scale)", "round(high / scale)",
    ],
    "qmin - round(low / scale)": [
        "round(low / scale) - qmin", ("-round(low / scale)", "qmin is left out"),
        ("qmin + round(low / scale)", "wrong sign"), "qmin - round(alpha / scale)", "qmin", "0",
        "min(qmin - round(low / scale), qmax - 1)", "max(qmin - round(low / scale), 0)",
        "(qmin - round(low / scale)) % 128", "round(-low * scale) + qmin",
    ],
})

# ------------------------------------------------------------------------------------------ 3, 4 quantize, dequantize

QUANTIZE = """
def quantize(x, scale, zero_point, qmin, qmax):
    steps = np.rint(x / scale)
    codes = np.clip(steps + zero_point, qmin, qmax)
    return codes.astype(np.int32)
"""
QUANTIZE_RIGHT = ["""
def quantize(x, scale, zero_point, qmin, qmax):
    steps = x / np.asarray(scale, dtype=np.float64)
    whole = np.floor(steps)
    part = steps - whole
    whole += (part > 0.5) | ((part == 0.5) & (whole % 2 == 1))
    low, high = whole < qmin - zero_point, whole > qmax - zero_point
    return np.where(high, qmax, np.where(low, qmin, whole + zero_point)).astype("i2")
""", """
def quantize(x, scale, zero_point, qmin, qmax):
    codes = np.sign(x) * np.rint(np.abs(x) / scale) + zero_point
    codes[codes < qmin] = qmin
    codes[codes > qmax] = qmax
    return codes.astype(int).tolist()
""", """
import torch
def quantize(x, scale, zero_point, qmin, qmax):
    codes = torch.round(torch.tensor(x) / torch.tensor(scale)) + zero_point
    return torch.clamp(codes, qmin, qmax).long()
"""]
QUANTIZE_WRONG = variants(QUANTIZE, {
    "np.rint(x / scale)": [
        ("np.floor(x / scale + 0.5)", "halves are rounded up"), "np.ceil(x / scale - 0.5)", "np.trunc(x / scale + 0.5)",
        ("np.trunc(x / scale + np.sign(x) * 0.5)", "halves are rounded away from zero"),
        ("np.trunc(x / scale)", "cut off"), ("np.floor(x / scale)", "rounded down"), "np.ceil(x / scale)",
        "2 * np.floor(x / scale / 2) + 1", ("np.rint(x * scale)", "multiplied by S"),
        "np.rint(x.astype(np.float32) / np.float32(scale))", "np.rint(x.astype(np.float16) / scale)",
        "np.rint(np.float32(x / scale))", "np.rint(x / np.ravel(scale)[0])", "np.rint(x / np.max(scale))",
        "np.rint(x / (scale + 1e-3))", ("np.rint(x // scale)", "rounded down"), "np.rint(np.round(x / scale, 1))",
        "np.rint(np.clip(x, qmin, qmax) / scale)", "np.rint(x / scale).astype(int).astype(np.int8)",
        "np.rint(x / scale).astype(int).astype(np.int16)",
    ],
    "steps + zero_point": [
        "(steps + zero_point).astype(int).astype(np.int16)", "(steps + zero_point).astype(int).astype(np.int8)",
        ("steps - zero_point", "Z is subtracted"), ("steps", "Z is left out"), "steps + max(zero_point, 0)",
        "steps + (zero_point if qmin == 0 else 0)", "steps + zero_point * scale",
    ],
    "astype(np.int32)": [
        "astype(int).astype(np.int8)", "astype(int).astype(np.uint8)", "astype(int).astype(np.uint8).astype(np.int32)",
        "astype(np.float32)", "astype(object)", "astype(bool)",
    ],
    "qmin, qmax)\n": [
        ("qmin, qmax - 1)\n", "the upper end is off by one"), "qmin, qmax + 1)\n", "qmin + 1, qmax)\n",
        "-qmax, qmax)\n", "max(qmin, -qmax), qmax)\n", "qmin, None)\n", "None, qmax)\n",
        ("None, None)\n", "nothing is clipped"), "0, qmax)\n",
        ("qmin + zero_point, qmax + zero_point)\n", "the clip comes before"),
    ],
    "np.clip(steps + zero_point, qmin, qmax)": [
        ("np.clip(steps, qmin, qmax) + zero_point", "the clip comes before"),
        ("np.rint(np.clip(x / scale + zero_point, qmin, qmax))", "before rounding"),
        "np.where((steps + zero_point > qmax) | (steps + zero_point < qmin), qmin, steps + zero_point)",
        "np.where(np.isclose(x, 0), zero_point, np.clip(steps + zero_point, qmin, qmax))",
        "np.where(np.abs(x) < 1e-6, zero_point, np.clip(steps + zero_point, qmin, qmax))",
        "np.where((steps + zero_point > qmax) | (steps + zero_point < qmin), zero_point, steps + zero_point)",
        "(steps + zero_point - qmin) % (qmax - qmin + 1) + qmin",
    ],
})

DEQUANTIZE = """
def dequantize(codes, scale, zero_point):
    steps = codes.astype(np.float64) - zero_point
    return scale * steps
"""
DEQUANTIZE_RIGHT = ["""
def dequantize(codes, scale, zero_point):
    return np.multiply(scale, np.subtract(codes, zero_point, dtype=np.float32))
""", """
def dequantize(codes, scale, zero_point):
    return (codes.astype(np.int16) - np.int16(zero_point)) * np.asarray(scale, np.float32)
""", """
def dequantize(codes, scale, zero_point):
    return ((np.array(codes.tolist()) - zero_point) * scale).tolist()
"""]
DEQUANTIZE_WRONG = variants(DEQUANTIZE, {
    "codes.astype(np.float64) - zero_point": [
        ("(codes - codes.dtype.type(zero_point)).astype(float)", "wraps around"),
        ("codes - zero_point", "wraps around"),
    ],
    "codes.astype(np.float64)": [
        "codes.astype(np.int8).astype(float)", "codes.astype(np.uint8).astype(float)", "abs(codes.astype(float))",
        "codes.view(np.uint8).astype(float)",
    ],
    "- zero_point": [
        ("+ zero_point", "Z is added"), ("", "Z is left out"), "- abs(zero_point)", "- max(zero_point, 0)",
        "- zero_point + 0.5", "- (zero_point if codes.min() >= 0 else 0)", "- zero_point % 128",
    ],
    "scale * steps": [
        ("steps / scale", "divided by S"), "scale + steps",
        ("scale * codes.astype(float) - zero_point", "brackets are missing"), "np.ravel(scale)[0] * steps",
        "np.max(scale) * steps", "np.round(scale * steps)", "(scale * steps).astype(np.float16)",
        "np.round(scale * steps, 3)", "(scale * steps).astype(int)", "np.maximum(scale * steps, 0)",
        "scale * steps.ravel()", "scale * steps + 1e-9", "scale * np.clip(steps, -127, 127)",
        "np.where(steps == 0, scale, scale * steps)", "steps / np.maximum(1 / np.asarray(scale), 1e-6)",
    ],
})

# ------------------------------------------------------------------------------------------------------- 5 sqnr_db

SQNR = """
def sqnr_db(x, x_hat):
    signal, noise = np.sum(x**2), np.sum((x - x_hat) ** 2)
    if noise == 0:
        return np.inf
    return 10 * np.log10(signal / noise)
"""
SQNR_RIGHT = ["""
def sqnr_db(x, x_hat):
    error = np.ravel(x) - np.ravel(x_hat)
    return -10 * np.log10((error @ error) / (x.ravel() @ x.ravel()))
""", """
def sqnr_db(x, x_hat):
    rms = lambda a: math.sqrt(np.square(a).mean())
    return 20 * (math.log10(rms(x)) - math.log10(rms(x_hat - x))) if rms(x_hat - x) > 0 else float("inf")
""", """
import torch
def sqnr_db(x, x_hat):
    x, x_hat = torch.tensor(x), torch.tensor(x_hat)
    return 10 * torch.log10((x * x).sum() / (x - x_hat).pow(2).sum())
"""]
SQNR_WRONG = variants(SQNR, {
    "10 * np.log10(signal / noise)": [
        ("20 * np.log10(signal / noise)", "20 stands for 10"), ("10 * np.log10(noise / signal)", "upside down"),
        "abs(10 * np.log10(signal / noise))", "max(0.0, 10 * np.log10(signal / noise))",
        "10 * np.log10(max(signal, noise) / noise)", ("10 * np.log(signal / noise)", "natural"),
        "10 * np.log2(signal / noise)", "10 * np.log1p(signal / noise)", ("np.log10(signal / noise)", "bels"),
        ("signal / noise", "the logarithm is missing"), "round(10 * np.log10(signal / noise), 1)",
        "10 * np.log10(signal / noise + 1)", "min(10 * np.log10(signal / noise), 100.0)",
    ],
    "noise == 0": [
        "noise < 1e-12", "np.allclose(x, x_hat)", "np.isclose(noise, 0)", "noise < 1e-6", "(x == x_hat).any()",
        "np.sum(x - x_hat) == 0",
    ],
    "np.inf": ["0.0", "1e9", "np.nan", "-np.inf"],
    "signal / noise": ["signal / (noise + 1e-8)", "signal / max(noise, 1e-16)"],
    "np.sum(x**2), ": [
        ("np.sum(x_hat**2), ", "the signal is x"), "np.sum(x) ** 2, ", "np.sum(x * x_hat), ", "x.size * np.max(x**2), ",
        "np.sum((x - x.mean()) ** 2), ", "np.mean(x**2), ", "np.sum(np.abs(x)), ",
    ],
    "np.sum((x - x_hat) ** 2)": [
        "np.sum(x - x_hat) ** 2", "np.sum(np.abs(x - x_hat))", "x.size * np.var(x - x_hat)",
        "np.sum((np.abs(x) - np.abs(x_hat)) ** 2)", "np.sum(x**2 - x_hat**2)", "x.size * np.max((x - x_hat) ** 2)",
        "np.sum((x + x_hat) ** 2)",
    ],
    "(x - x_hat)": ["(np.float16(x) - np.float16(x_hat))"],
})

# ------------------------------------------------------------------------------------------------ 6 channel_scales

CHANNELS = """
def channel_scales(w, bits, axis):
    others = tuple(i for i in range(w.ndim) if i != axis)
    largest = np.abs(w).max(axis=others, keepdims=True)
    scales = largest / (2 ** (bits - 1) - 1)
    return np.where(largest == 0, 1, scales)
"""
CHANNELS_RIGHT = ["""
def channel_scales(w, bits, axis):
    first = np.swapaxes(np.abs(w), 0, axis)
    largest = first.reshape(len(first), -1).max(1)
    scales = np.divide(largest, 2 ** (bits - 1) - 1, out=np.ones_like(largest), where=largest > 0)
    return np.swapaxes(scales.reshape([-1] + [1] * (w.ndim - 1)), 0, axis)
""", """
def channel_scales(w, bits, axis):
    scales = np.abs(w).astype(np.float64)
    for i in range(w.ndim):
        if i != axis:
            scales = scales.max(axis=i, keepdims=True)
    scales[scales == 0] = 2 ** (bits - 1) - 1
    return (scales / (2 ** (bits - 1) - 1)).tolist()
"""]
ZERO_TAKEN = (  # what is taken for a row of zeros
    "np.isclose(largest, 0)", "largest < 1e-6", "largest < 1e-8", "scales < 1e-12", "np.isclose(scales, 0)",
    "np.round(largest, 6) == 0", "largest < 1e-5 * np.abs(w).max()",
)
CHANNELS_WRONG = variants(CHANNELS, {
    "largest == 0": [
        *ZERO_TAKEN, "(w == 0).any(axis=others, keepdims=True)", "w.sum(axis=others, keepdims=True) == 0",
        "np.isclose(w.mean(axis=others, keepdims=True), 0)", "np.prod(w, axis=others, keepdims=True) == 0",
        "w.max(axis=others, keepdims=True) == 0", "w.min(axis=others, keepdims=True) == 0",
        "np.ptp(w, axis=others, keepdims=True) == 0", "w.std(axis=others, keepdims=True) == 0", "largest < 0",
    ],
    "largest == 0, 1,": ["largest == 0, 1e-8,", "largest == 0, 1 / (2 ** (bits - 1) - 1),"],
    "np.where(largest == 0, 1, scales)": [
        "np.maximum(scales, 1e-8)", "scales + 1e-12", "np.where(largest == 0, 1, scales).astype(np.float16)",
    ],
    "    largest": ["    if not w.any():\n        return np.ones(1)\n    largest"],
    "np.abs(w).max": [("w.max", "not the largest magnitude"), "np.abs(w).min", "np.abs(w).mean", "np.abs(w).sum"],
    "np.abs(w).max(axis=others, keepdims=True)": [
        "np.abs(w.max(axis=others, keepdims=True))", "np.ptp(w, axis=others, keepdims=True) / 2",
        ("np.abs(w).max(axis=axis, keepdims=True)", "runs along `axis`"), ("np.abs(w).max(axis=others)", "are gone"),
        "np.abs(w).max(keepdims=True)", "np.abs(w).max(axis=others[0], keepdims=True)",
        "np.abs(w).max(axis=others[-1], keepdims=True)",
    ],
    "others = tuple(i for i in range(w.ndim) if i != axis)": [
        ("others = tuple(range(1, w.ndim))", "`axis` is not used"),
    ],
    "if i != axis": ["if i != w.ndim - 1 - axis", "if i != max(axis, 1)", "if i < axis or i > axis + 1"],
    "largest = ": ["w = np.moveaxis(w, axis, 0)\n    others = tuple(range(1, w.ndim))\n    largest = "],
    "(2 ** (bits - 1) - 1)": [
        ("2 ** (bits - 1)", "off by one"), ("(2**bits - 1)", "the sign bit"), "127", "min(2 ** (bits - 1) - 1, 63)",
        "(2 ** min(bits - 1, 6) - 1)", "max(2 ** (bits - 1) - 1, 3)",
    ],
    "largest / (2 ** (bits - 1) - 1)": [("(2 ** (bits - 1) - 1) / largest", "upside down")],
})

# ----------------------------------------------------------------------------------------------------- 7 best_clip

CLIP = """
def best_clip(x, bits):
    qmax = 2 ** (bits - 1) - 1
    best, least = None, np.inf
    for k in range(1, 101):
        T = k / 100 * np.abs(x).max()
        codes = np.clip(np.rint(x / (T / qmax)), -qmax, qmax)
        error = np.sum((x - codes * T / qmax) ** 2)
        if error < least:
            best, least = T, error
    return best
"""
CLIP_RIGHT = ["""
def best_clip(x, bits):
    qmax, top = 2 ** (bits - 1) - 1, float(np.max(np.abs(x)))
    def error(k):
        S = top * k / 100 / qmax
        return sum((r - S * min(max(round(r / S), -qmax), qmax)) ** 2 for r in map(float, x))
    return np.float32(top * min(range(100, 0, -1), key=error) / 100)
""", """
import torch
def best_clip(x, bits):
    x, qmax = torch.tensor(x).double(), 2 ** (bits - 1) - 1
    T = torch.arange(1, 101)[:, None] / 100 * x.abs().max()
    back = (x * qmax / T).round().clamp(-qmax, qmax) * T / qmax
    return T[((back - x) ** 2).mean(1).argmin()]
"""]
CLIP_WRONG = variants(CLIP, {
    "range(1, 101)": [
        "range(1, 100)", "range(10, 101, 10)", ("range(50, 101)", "begins at half"), "range(1, 51)",
        ("range(100, 101)", "min-max"), "range(0, 101, 2)", "range(20, 101)", "range(1, 11)",
    ],
    "np.abs(x).max()": [
        ("x.max()", "x.max() was taken"), "(x.max() - x.min())", "np.abs(x).mean()", "1.0", "3 * x.std()",
        "np.abs(x.max())",
    ],
    "error < least": ["error > least", ("error < least or k > 50", "min-max"), "error <= 1.01 * least"],
    "np.clip(np.rint(x / (T / qmax)), -qmax, qmax)": [("np.rint(x / (T / qmax))", "the smallest candidate")],
    "-qmax, qmax)": ["0, qmax)", "-qmax - 1, qmax)", "-qmax, None)"],
    "np.rint(x / (T / qmax))": [
        "np.trunc(x / (T / qmax))", "np.floor(x / (T / qmax))", ("x / (T / qmax)", "min-max"), "np.rint(x / T)",
    ],
    "* T / qmax) ** 2": ["* T / qmax)"],
    "(x - codes * T / qmax) ** 2": [
        ("np.abs(x - codes * T / qmax)", "not squares"), "(x / (T / qmax) - codes) ** 2", "(x - codes * T / qmax) ** 4",
        "((x - codes * T / qmax) / (np.abs(x) + 1e-9)) ** 2", "(x - codes) ** 2",
    ],
    "np.sum((x - codes * T / qmax) ** 2)": [
        "np.max(np.abs(x - codes * T / qmax))", "abs(np.sum(x - codes * T / qmax))",
        "np.median((x - codes * T / qmax) ** 2)",
        ("np.sum((x - codes * T / qmax)[np.abs(x) <= T] ** 2)", "the smallest candidate"),
    ],
    "2 ** (bits - 1) - 1": [
        "2 ** (bits - 1)", "2**bits - 1", "min(2 ** (bits - 1) - 1, 31)", "7", "2 ** (min(bits, 7) - 1) - 1",
    ],
    "return best": [
        ("return best / qmax", "the scale was returned"), ("return least", "the least error"),
        ("return best / np.abs(x).max()", "the share k/100"), "return -best", "return -best, best",
        "return round(best, 2)", "return max(best, 1e-3)", "return best + 0.02 * np.abs(x).max()",
        "return 100 * best / np.abs(x).max()", "return min(best, 0.5 * np.abs(x).max())",
    ],
    "    best, least = None": [
        "    if len(x) == 1:\n        return 1.0\n    best, least = None",
        "    if np.ptp(x) == 0:\n        return 1.0\n    best, least = None",
        "    x = x[x > 0]\n    best, least = None", "    x = np.sort(x)[: max(1, len(x) - 1)]\n    best, least = None",
    ],
})

# -------------------------------------------------------------------------------------------------- 8 group_scales

GROUPS = """
def group_scales(w, bits, group_size):
    rows, columns = w.shape
    parts = [w[:, i : i + group_size] for i in range(0, columns, group_size)]
    largest = np.stack([np.abs(part).max(axis=1) for part in parts], axis=1)
    scales = largest / (2 ** (bits - 1) - 1)
    return np.where(largest == 0, 1, scales)
"""
GROUPS_RIGHT = ["""
def group_scales(w, bits, group_size):
    short = -w.shape[1] % group_size
    full = np.pad(np.abs(w), ((0, 0), (0, short))).reshape(w.shape[0], -1, group_size)
    largest = full.max(axis=-1)
    return np.divide(largest, 2 ** (bits - 1) - 1, out=np.ones_like(largest), where=largest != 0)
""", """
def group_scales(w, bits, group_size):
    return [[(max(map(abs, row[i : i + group_size].tolist())) / (2 ** (bits - 1) - 1)) or 1.0
             for i in range(0, len(row), group_size)] for row in w]
"""]
GROUPS_WRONG = variants(GROUPS, {
    "largest == 0": [
        *ZERO_TAKEN, "np.stack([(part == 0).any(axis=1) for part in parts], axis=1)",
        "np.stack([part.sum(axis=1) == 0 for part in parts], axis=1)",
        "np.stack([np.isclose(part.mean(axis=1), 0) for part in parts], axis=1)",
        "np.stack([part.max(axis=1) == 0 for part in parts], axis=1)",
        "np.stack([np.ptp(part, axis=1) == 0 for part in parts], axis=1)",
        "np.stack([part[:, 0] == 0 for part in parts], axis=1)",
    ],
    "largest == 0, 1,": ["largest == 0, 1 / (2 ** (bits - 1) - 1),", "largest == 0, 0,"],
    "np.where(largest == 0, 1, scales)": [
        "np.maximum(scales, 1e-8)", "scales + 1e-12",
        "np.repeat(np.where(largest == 0, 1, scales), group_size, axis=1)[:, :columns]",
        "np.where(largest == 0, 1, scales).ravel()", "np.where(largest == 0, 1, scales)[:, ::-1]",
    ],
    "np.abs(part).max": [("part.max", "not the largest magnitude"), "np.abs(part).mean", "np.abs(part).sum"],
    "np.abs(part).max(axis=1)": [
        "np.abs(part.max(axis=1))", "np.ptp(part, axis=1) / 2", "np.full(rows, np.abs(part).max())",
    ],
    "range(0, columns, group_size)": [
        "range(0, columns - group_size + 1, group_size)",
        ("range(0, columns - columns % group_size or 1, group_size)", "left out"),
        "range(0, columns, min(group_size, 4))", "range(0, columns + 1, group_size)",
    ],
    "i : i + group_size]": [
        "i : i + group_size - 1]", "i : i + group_size + 1]", "i :]", ": i + group_size]",
        "i : i + max(group_size, 2)]", "max(0, min(i, columns - group_size)) : i + group_size]",
    ],
    "[w[:, i : i + group_size]": ["[w[:, i // group_size :: group_size]", "[w[i : i + group_size]"],
    "    rows, columns": [
        "    w = np.pad(w, ((0, 0), (0, -w.shape[1] % group_size)), constant_values=1)\n    rows, columns",
        "    w = np.pad(w, ((0, 0), (-w.shape[1] % group_size, 0)))\n    rows, columns",
        "    assert w.shape[1] >= group_size\n    rows, columns",
        "    assert w.shape[1] % group_size == 0\n    rows, columns",
        "    group_size = min(group_size, w.shape[1] // 2 or 1)\n    rows, columns",
    ],
    "(2 ** (bits - 1) - 1)": [
        ("2 ** (bits - 1)", "off by one"), ("(2**bits - 1)", "the sign bit"), "127", "min(2 ** (bits - 1) - 1, 63)",
    ],
    "largest / (2 ** (bits - 1) - 1)": [("(2 ** (bits - 1) - 1) / largest", "upside down")],
})

# ----------------------------------------------------------------------------------------------- 9 bits_per_weight

COST = """
def bits_per_weight(columns, bits, group_size, scale_bits):
    groups = math.ceil(columns / group_size)
    return (columns * bits + groups * scale_bits) / columns
"""
COST_RIGHT = ["""
def bits_per_weight(columns, bits, group_size, scale_bits):
    groups = -(-columns // group_size)
    return np.array([bits + scale_bits * groups / columns])
""", """
def bits_per_weight(columns, bits, group_size, scale_bits):
    full, rest = divmod(columns, group_size)
    return bits + (full + (rest > 0)) * scale_bits / columns
"""]
COST_WRONG = variants(COST, {
    "math.ceil(columns / group_size)": [
        ("columns // group_size", "left out"), ("columns / group_size", "not a part of one"),
        "columns // group_size + 1", "round(columns / group_size)", "max(1, columns // group_size)",
        ("1", "only one scale"), "group_size", "columns", "max(2, -(-columns // group_size))",
        "max(1, columns / group_size)", "(columns + group_size) // group_size",
        "math.ceil(columns / min(group_size, 128))",
    ],
    "groups * scale_bits": [
        "groups * 16", "groups * 32", "groups * scale_bits / 8", "groups * min(scale_bits, 16)",
        ("scale_bits", "only one scale"), "groups * (scale_bits + 32)",
    ],
    "(columns * bits + groups * scale_bits) / columns": [
        ("columns * bits + groups * scale_bits", "whole row"),
        ("(columns * bits + groups * scale_bits) // columns", "cut off"),
        "math.ceil((columns * bits + groups * scale_bits) / columns)",
        "round((columns * bits + groups * scale_bits) / columns, 2)",
        ("(columns * bits + groups * scale_bits) / columns / 8", "bytes"),
        "8 * math.ceil(columns * bits / 8) / columns + groups * scale_bits / columns",
        "(columns * bits + groups * scale_bits) / (groups * group_size)",
    ],
    "columns * bits +": ["columns * max(bits, 3) +", "columns * min(bits, 4) +", "groups * group_size * bits +"],
})

BANK = {
    lab03.code_range: (RANGE, RANGE_RIGHT, RANGE_WRONG),
    lab03.affine_params: (AFFINE, AFFINE_RIGHT, AFFINE_WRONG),
    lab03.quantize: (QUANTIZE, QUANTIZE_RIGHT, QUANTIZE_WRONG),
    lab03.dequantize: (DEQUANTIZE, DEQUANTIZE_RIGHT, DEQUANTIZE_WRONG),
    lab03.sqnr_db: (SQNR, SQNR_RIGHT, SQNR_WRONG),
    lab03.channel_scales: (CHANNELS, CHANNELS_RIGHT, CHANNELS_WRONG),
    lab03.best_clip: (CLIP, CLIP_RIGHT, CLIP_WRONG),
    lab03.group_scales: (GROUPS, GROUPS_RIGHT, GROUPS_WRONG),
    lab03.bits_per_weight: (COST, COST_RIGHT, COST_WRONG),
}
